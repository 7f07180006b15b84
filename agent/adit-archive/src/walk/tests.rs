// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The order of the walk, deep and wide trees, and a bounded number of descriptors.

use super::*;
use std::fs;
use std::thread;

fn limits() -> Limits {
    Limits { filter: Filter::new(&[]).unwrap(), one_file_system: false, skip_caches: true, never: None }
}

/// Paths below the root, and the most descriptors that were open at once.
fn walk(root: &Path, helpers: usize) -> (Vec<Vec<u8>>, usize) {
    let prefetch = Prefetch::new(true);
    let roots = resolve_roots(&[root.to_owned()]).unwrap();
    let above = parse_path(roots[0].as_os_str().as_bytes()).unwrap().len();
    thread::scope(|scope| {
        for _ in 0..helpers {
            scope.spawn(|| prefetch.help());
        }
        let mut walk = Walk::new(&roots, limits(), &prefetch).unwrap();
        let (mut paths, mut open_most) = (Vec::new(), 0);
        while let Some(step) = walk.step() {
            if step.path.len() > above {
                paths.push(step.path[above + 1..].to_vec());
            }
            if paths.len() % 64 == 1 {
                open_most = open_most.max(fs::read_dir("/proc/self/fd").unwrap().count());
            }
        }
        assert_eq!(walk.notes, Vec::new());
        prefetch.stop();
        (paths, open_most)
    })
}

fn naive(root: &Path, above: &[u8], paths: &mut Vec<Vec<u8>>) {
    for entry in fs::read_dir(root).unwrap() {
        let entry = entry.unwrap();
        let mut path = above.to_vec();
        if !path.is_empty() {
            path.push(SEPARATOR);
        }
        path.extend_from_slice(entry.file_name().as_bytes());
        if entry.file_type().unwrap().is_dir() {
            naive(&entry.path(), &path, paths);
        }
        paths.push(path);
    }
}

#[test]
fn paths_come_in_byte_order_whatever_the_helpers_do() {
    let home = tempfile::tempdir().unwrap();
    for (n, name) in ["a", "a.b", "a b", "a-", "B", "é", "a\u{1}"].iter().enumerate() {
        let dir = home.path().join(name);
        for sub in 0..=n * 5 {
            let sub = dir.join(format!("s{sub}"));
            fs::create_dir_all(&sub).unwrap();
            fs::write(sub.join("x"), b"").unwrap();
            fs::write(sub.with_extension("y"), b"").unwrap();
        }
    }
    fs::write(home.path().join(OsStr::from_bytes(b"\xff\n")), b"").unwrap();
    let mut wanted = Vec::new();
    naive(home.path(), b"", &mut wanted);
    wanted.sort();
    for helpers in [0, 1, 2, 8] {
        for _ in 0..5 {
            assert_eq!(walk(home.path(), helpers).0, wanted);
        }
    }
}

#[test]
fn a_deep_tree_needs_few_descriptors() {
    let home = tempfile::tempdir().unwrap();
    let mut dir = open_path(home.path()).unwrap();
    // Deeper than a path may be long, with something behind each level for the way back.
    let name = CString::new("d".repeat(60)).unwrap();
    for _ in 0..300 {
        for file in [c"a", c"z"] {
            rustix::fs::openat(&dir, file, OFlags::CREATE | OFlags::WRONLY, Mode::RUSR).unwrap();
        }
        rustix::fs::mkdirat(&dir, &name, Mode::RWXU).unwrap();
        dir = Dir::new(open_quiet(&dir, &name, OFlags::DIRECTORY).unwrap());
    }
    drop(dir);
    let (paths, open_most) = walk(home.path(), 2);
    assert_eq!(paths.len(), 900);
    assert!(paths.is_sorted());
    assert!(open_most < 120, "{open_most} descriptors were open");
    remove_deep(home.path());
}

/// The standard library removes by descriptors, but not below what a path can name everywhere.
fn remove_deep(path: &Path) {
    let emptied = fs::remove_dir_all(path.join("d".repeat(60)));
    assert!(emptied.is_ok(), "{emptied:?}");
}

#[test]
fn a_wide_directory_takes_several_windows() {
    let home = crate::fixture::roomy();
    for n in 0..20_000u32 {
        if n % 1_000 == 0 {
            fs::create_dir(home.path().join(format!("{n:x}"))).unwrap();
            fs::write(home.path().join(format!("{n:x}/inside")), b"").unwrap();
        } else {
            fs::write(home.path().join(format!("{n:x}")), b"").unwrap();
        }
    }
    let (paths, _) = walk(home.path(), 3);
    assert_eq!(paths.len(), 20_020);
    assert!(paths.is_sorted());
}

#[test]
fn sources_inside_sources_are_walked_once() {
    let home = tempfile::tempdir().unwrap();
    let at = |path: &str| home.path().join(path);
    fs::create_dir_all(at("a/b/c")).unwrap();
    fs::create_dir_all(at("a.x")).unwrap();
    std::os::unix::fs::symlink("a/b", at("link")).unwrap();
    let roots = resolve_roots(&[at("a/b/c"), at("a.x"), at("link"), at("a/b/../b/c"), at("a")]).unwrap();
    let home = home.path().canonicalize().unwrap();
    assert_eq!(roots, vec![home.join("a"), home.join("a.x")]);
}

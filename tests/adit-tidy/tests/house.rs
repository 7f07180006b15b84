// SPDX-License-Identifier: Apache-2.0 OR MIT
//! All house rules over this repository. A rule's own test, which shows it complaining, stands beside the rule.

use adit_tidy::documents::{self, Facts, text_of};
use adit_tidy::functions::Sizes;
use adit_tidy::repository::File;
use adit_tidy::{Complaints, arrows, functions, licences, manifest, repository, sources};

fn files() -> Vec<File> {
    let files = repository::read(&repository::root()).expect("read the repository");
    assert!(files.len() > 40, "only {} files found", files.len());
    files
}

fn facts(files: &[File]) -> Facts {
    Facts::collect(files, adit_wire::DEFAULT_PORT).expect("facts of the manifest")
}

#[track_caller]
fn silent(complaints: Complaints) {
    assert!(complaints.is_empty(), "{} complaints:\n{}", complaints.len(), complaints.join("\n"));
}

#[test]
fn arrows_point_one_way() {
    let graph = arrows::Graph::ask(&repository::root()).expect("cargo metadata");
    assert!(graph.rooms.len() >= 12 && graph.reachable("aditd").contains("tokio"), "the graph is not complete");
    silent(arrows::arrows(&graph));
    silent(arrows::purity(&graph));
    silent(arrows::absences(&graph));
}

#[test]
fn every_source_opens_with_its_head() {
    silent(sources::heads(&files()));
}

#[test]
fn unsafe_code_and_sockets_have_one_owner() {
    silent(sources::owners(&files()));
}

#[test]
fn nothing_unfinished_is_left() {
    silent(sources::banned_words(&files()));
}

#[test]
fn no_path_of_one_machine_is_told() {
    silent(sources::machine_paths(&files()));
}

#[test]
fn names_tell_and_no_file_is_a_blob() {
    silent(sources::names_and_sizes(&files()));
}

#[test]
fn files_and_functions_stay_short() {
    let files = files();
    let listed: Sizes =
        toml::from_str(text_of(&files, "tests/adit-tidy/exceptions.toml")).expect("the list of exceptions");
    silent(functions::ratchet(&functions::oversized(&files), &listed));
}

#[test]
fn every_file_names_its_licence() {
    silent(licences::licences(&files()));
}

#[test]
fn dependencies_say_why() {
    let files = files();
    silent(manifest::reasons(text_of(&files, "Cargo.toml")));
    silent(manifest::rooms(&files));
}

#[test]
fn the_readme_tells_the_truth() {
    let files = files();
    let facts = facts(&files);
    silent(documents::readme(text_of(&files, "README.md"), &facts));
    silent(documents::architecture(text_of(&files, "ARCHITECTURE.md"), &facts));
    silent(documents::targets(&files, &facts));
    silent(documents::links(&files));
    silent(documents::commands(&files));
}

#[test]
fn promises_name_their_tests() {
    let files = files();
    silent(documents::specification(text_of(&files, "SPECIFICATION.md"), &documents::test_names(&files)));
}

#[test]
fn the_changelog_has_its_form() {
    let files = files();
    let version = facts(&files).version;
    silent(documents::changelog(text_of(&files, "CHANGELOG.md"), &version));
}

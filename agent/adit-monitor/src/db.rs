// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What survives kill -9: last words of every agent, incidents, maintenance windows, messages that wait for a channel, and
//! the log of what happened. One SQLite file in WAL mode, written by one thread. Samples are not rows: see `history`.

use crate::alerts::Subject;
use crate::alerts::dead_man::Pairs;
use crate::alerts::engine::{Incident, Window};
use crate::alerts::group::Message;
use crate::fleet::Facts;
use crate::timeline::Moment;
use rusqlite::{Connection, OptionalExtension as _, params};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::Path;

/// Lines of the log that are kept.
pub const LOG_ROWS_MAX: i64 = 100_000;
/// Messages that wait for one channel; a new one beyond them drops the oldest.
pub const WAITING_MAX: i64 = 1_000;

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS fact (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
    CREATE TABLE IF NOT EXISTS host (
        name TEXT PRIMARY KEY, inventory BLOB NOT NULL, snapshot BLOB NOT NULL, received_t INTEGER NOT NULL,
        heard_t INTEGER NOT NULL, facts TEXT NOT NULL, address_record BLOB NOT NULL) STRICT;
    CREATE TABLE IF NOT EXISTS incident (
        host TEXT NOT NULL, component TEXT NOT NULL, topic TEXT NOT NULL, incident TEXT NOT NULL,
        PRIMARY KEY (host, component, topic)) STRICT;
    CREATE TABLE IF NOT EXISTS message (
        id INTEGER PRIMARY KEY, channel TEXT NOT NULL, message TEXT NOT NULL, made_t INTEGER NOT NULL,
        tries INTEGER NOT NULL, next_t INTEGER NOT NULL, trouble TEXT NOT NULL) STRICT;
    CREATE INDEX IF NOT EXISTS message_of_channel ON message (channel, next_t);
    CREATE TABLE IF NOT EXISTS log (
        id INTEGER PRIMARY KEY, wall_s INTEGER NOT NULL, kind TEXT NOT NULL, text TEXT NOT NULL) STRICT;
    PRAGMA user_version = 1;";

/// Why the file can't be used.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    /// SQLite says no.
    #[error("use the monitor's database")]
    Sqlite(#[from] rusqlite::Error),
    /// A newer program wrote it.
    #[error("use the monitor's database: it has version {0}, this program knows 1")]
    Version(i64),
    /// A row can't be written as JSON.
    #[error("write a row")]
    Json(#[from] serde_json::Error),
}

/// A host as it was stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredHost {
    /// Its inventory, as it came.
    pub inventory: Vec<u8>,
    /// Its last snapshot, as it came.
    pub snapshot: Vec<u8>,
    /// When that came, seconds of the timeline.
    pub received_t: u64,
    /// When it last answered, seconds of the timeline.
    pub heard_t: u64,
    /// What shows over time.
    pub facts: Facts,
    /// Its newest address record, or nothing.
    pub address_record: Vec<u8>,
}

/// A message that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Names it.
    pub id: i64,
    /// What.
    pub message: Message,
    /// Attempts so far.
    pub tries: u32,
    /// When it was made, seconds of the timeline.
    pub made_t: u64,
}

/// How a channel's queue stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct QueueState {
    /// Messages that wait.
    pub waiting: u64,
    /// Why the first of them was not delivered.
    pub trouble: String,
}

/// The open file.
#[derive(Debug)]
pub struct Db {
    connection: Connection,
}

fn row(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn of_row(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

impl Db {
    /// Opens the file, making it if there is none.
    ///
    /// # Errors
    /// When it can't be used.
    pub fn open(path: &Path) -> Result<Self, DbError> {
        let connection = Connection::open(path)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        // 2 MiB of cache are plenty for what is written a minute.
        connection.pragma_update(None, "cache_size", -2_048)?;
        let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        if version > 1 {
            return Err(DbError::Version(version));
        }
        connection.execute_batch(SCHEMA)?;
        Ok(Self { connection })
    }

    /// Does all of it or nothing.
    ///
    /// # Errors
    /// What the work says, or SQLite.
    pub fn whole<T>(&self, work: impl FnOnce(&Self) -> Result<T, DbError>) -> Result<T, DbError> {
        let transaction = self.connection.unchecked_transaction()?;
        let done = work(self)?;
        transaction.commit()?;
        Ok(done)
    }

    fn fact<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, DbError> {
        let mut statement = self.connection.prepare_cached("SELECT value FROM fact WHERE name = ?1")?;
        let text: Option<String> = statement.query_row([name], |row| row.get(0)).optional()?;
        Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
    }

    fn put_fact(&self, name: &str, value: &impl Serialize) -> Result<(), DbError> {
        let mut statement =
            self.connection.prepare_cached("INSERT OR REPLACE INTO fact (name, value) VALUES (?1, ?2)")?;
        statement.execute(params![name, serde_json::to_string(value)?])?;
        Ok(())
    }

    /// The last stored moment.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn moment(&self) -> Result<Moment, DbError> {
        let (t, wall_s) = self.fact::<(u64, u64)>("moment")?.unwrap_or_default();
        Ok(Moment { t, wall_s })
    }

    /// Stores a moment.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn put_moment(&self, now: Moment) -> Result<(), DbError> {
        self.put_fact("moment", &(now.t, now.wall_s))
    }

    /// Which job fills which source.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn pairs(&self) -> Result<Pairs, DbError> {
        Ok(self.fact("pairs")?.unwrap_or_default())
    }

    /// Stores which job fills which source.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn put_pairs(&self, pairs: &Pairs) -> Result<(), DbError> {
        self.put_fact("pairs", pairs)
    }

    /// The maintenance windows.
    ///
    /// # Errors
    /// When they can't be read.
    pub fn windows(&self) -> Result<Vec<Window>, DbError> {
        Ok(self.fact("windows")?.unwrap_or_default())
    }

    /// Stores the maintenance windows.
    ///
    /// # Errors
    /// When they can't be written.
    pub fn put_windows(&self, windows: &[Window]) -> Result<(), DbError> {
        self.put_fact("windows", &windows)
    }

    /// All hosts by name.
    ///
    /// # Errors
    /// When they can't be read.
    pub fn hosts(&self) -> Result<Vec<(String, StoredHost)>, DbError> {
        let sql = "SELECT name, inventory, snapshot, received_t, heard_t, facts, address_record FROM host";
        let mut statement = self.connection.prepare(sql)?;
        let rows = statement.query_map([], |row| {
            let facts: String = row.get(5)?;
            let host = StoredHost {
                inventory: row.get(1)?,
                snapshot: row.get(2)?,
                received_t: of_row(row.get(3)?),
                heard_t: of_row(row.get(4)?),
                facts: serde_json::from_str(&facts).unwrap_or_default(),
                address_record: row.get(6)?,
            };
            Ok((row.get(0)?, host))
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Stores a host.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn put_host(&self, name: &str, host: &StoredHost) -> Result<(), DbError> {
        let mut statement = self.connection.prepare_cached(
            "INSERT OR REPLACE INTO host (name, inventory, snapshot, received_t, heard_t, facts, address_record)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?;
        let facts = serde_json::to_string(&host.facts)?;
        let (received, heard) = (row(host.received_t), row(host.heard_t));
        statement.execute(params![name, host.inventory, host.snapshot, received, heard, facts, host.address_record])?;
        Ok(())
    }

    /// Stores when a host was heard.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn put_heard(&self, name: &str, heard_t: u64) -> Result<(), DbError> {
        let mut statement = self.connection.prepare_cached("UPDATE host SET heard_t = ?2 WHERE name = ?1")?;
        statement.execute(params![name, row(heard_t)])?;
        Ok(())
    }

    /// Forgets a host.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn remove_host(&self, name: &str) -> Result<(), DbError> {
        self.connection.execute("DELETE FROM host WHERE name = ?1", [name])?;
        Ok(())
    }

    /// All incidents; a row that can't be read is left out.
    ///
    /// # Errors
    /// When they can't be read.
    pub fn incidents(&self) -> Result<Vec<(Subject, Incident)>, DbError> {
        let mut statement = self.connection.prepare("SELECT host, component, topic, incident FROM incident")?;
        let rows = statement.query_map([], |row| {
            let subject = Subject { host: row.get(0)?, component: row.get(1)?, topic: row.get(2)? };
            let text: String = row.get(3)?;
            Ok(serde_json::from_str(&text).ok().map(|incident| (subject, incident)))
        })?;
        Ok(rows.filter_map(Result::transpose).collect::<Result<_, _>>()?)
    }

    /// Stores an incident, or forgets it.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn put_incident(&self, subject: &Subject, incident: Option<&Incident>) -> Result<(), DbError> {
        let Subject { host, component, topic } = subject;
        let Some(incident) = incident else {
            let sql = "DELETE FROM incident WHERE host = ?1 AND component = ?2 AND topic = ?3";
            self.connection.prepare_cached(sql)?.execute(params![host, component, topic])?;
            return Ok(());
        };
        let sql = "INSERT OR REPLACE INTO incident (host, component, topic, incident) VALUES (?1, ?2, ?3, ?4)";
        let text = serde_json::to_string(incident)?;
        self.connection.prepare_cached(sql)?.execute(params![host, component, topic, text])?;
        Ok(())
    }

    /// Queues a message for a channel.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn queue(&self, channel: &str, message: &Message, t: u64) -> Result<(), DbError> {
        let sql =
            "INSERT INTO message (channel, message, made_t, tries, next_t, trouble) VALUES (?1, ?2, ?3, 0, ?3, '')";
        let text = serde_json::to_string(message)?;
        self.connection.prepare_cached(sql)?.execute(params![channel, text, row(t)])?;
        let sql = "DELETE FROM message WHERE channel = ?1 AND id NOT IN
                   (SELECT id FROM message WHERE channel = ?1 ORDER BY id DESC LIMIT ?2)";
        self.connection.prepare_cached(sql)?.execute(params![channel, WAITING_MAX])?;
        Ok(())
    }

    /// The oldest message of a channel, when it is due: messages keep their order.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn due(&self, channel: &str, t: u64) -> Result<Option<Waiting>, DbError> {
        let sql = "SELECT id, message, tries, made_t, next_t FROM message WHERE channel = ?1 ORDER BY id LIMIT 1";
        let mut statement = self.connection.prepare_cached(sql)?;
        let found = statement.query_row([channel], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?, row.get::<_, u32>(2)?, row.get(3)?, row.get(4)?))
        });
        let Some((id, text, tries, made_t, next_t)) = found.optional()? else { return Ok(None) };
        if of_row(next_t) > t {
            return Ok(None);
        }
        match serde_json::from_str(&text) {
            Ok(message) => Ok(Some(Waiting { id, message, tries, made_t: of_row(made_t) })),
            Err(error) => {
                self.delivered(id)?;
                Err(error.into())
            }
        }
    }

    /// A message is delivered, or given up.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn delivered(&self, id: i64) -> Result<(), DbError> {
        self.connection.execute("DELETE FROM message WHERE id = ?1", [id])?;
        Ok(())
    }

    /// A message was not delivered.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn again(&self, id: i64, next_t: u64, trouble: &str) -> Result<(), DbError> {
        let sql = "UPDATE message SET tries = tries + 1, next_t = ?2, trouble = ?3 WHERE id = ?1";
        self.connection.prepare_cached(sql)?.execute(params![id, row(next_t), trouble])?;
        Ok(())
    }

    /// How a channel's queue stands.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn queue_state(&self, channel: &str) -> Result<QueueState, DbError> {
        let sql = "SELECT count(*), coalesce((SELECT trouble FROM message WHERE channel = ?1 ORDER BY id LIMIT 1), '')
                   FROM message WHERE channel = ?1";
        let state = self
            .connection
            .prepare_cached(sql)?
            .query_row([channel], |row| Ok(QueueState { waiting: of_row(row.get(0)?), trouble: row.get(1)? }))?;
        Ok(state)
    }

    /// Notes what happened.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn log(&self, wall_s: u64, kind: &str, text: &str) -> Result<(), DbError> {
        let sql = "INSERT INTO log (wall_s, kind, text) VALUES (?1, ?2, ?3)";
        self.connection.prepare_cached(sql)?.execute(params![row(wall_s), kind, text])?;
        let sql = "DELETE FROM log WHERE id <= (SELECT max(id) FROM log) - ?1";
        self.connection.prepare_cached(sql)?.execute([LOG_ROWS_MAX])?;
        Ok(())
    }

    /// The newest lines of the log, newest first: when, kind, text.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn recent(&self, count: u32) -> Result<Vec<(u64, String, String)>, DbError> {
        let mut statement =
            self.connection.prepare_cached("SELECT wall_s, kind, text FROM log ORDER BY id DESC LIMIT ?1")?;
        let rows = statement.query_map([count], |row| Ok((of_row(row.get(0)?), row.get(1)?, row.get(2)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alerts::Occasion;

    fn message(title: &str) -> Message {
        Message {
            occasion: Occasion::Problem,
            verdict: 2,
            title: title.to_owned(),
            lines: Vec::new(),
            hosts: Vec::new(),
            site: String::new(),
            subjects: Vec::new(),
            wall_s: 1,
        }
    }

    #[test]
    fn messages_keep_their_order_and_wait_for_their_turn() {
        let dir = tempfile::tempdir().expect("directory");
        let db = Db::open(&dir.path().join("db")).expect("opened");
        db.queue("mail", &message("one"), 10).expect("queued");
        db.queue("mail", &message("two"), 11).expect("queued");
        let first = db.due("mail", 20).expect("read").expect("due");
        assert_eq!(first.message.title, "one");
        db.again(first.id, 50, "refused").expect("noted");
        assert_eq!(db.due("mail", 49).expect("read"), None, "the second waits for the first");
        assert_eq!(db.queue_state("mail").expect("read"), QueueState { waiting: 2, trouble: "refused".to_owned() });
        drop(db);
        let db = Db::open(&dir.path().join("db")).expect("opened again");
        assert_eq!(db.due("mail", 50).expect("read").map(|waiting| waiting.tries), Some(1));
        db.delivered(first.id).expect("noted");
        assert_eq!(db.due("mail", 50).expect("read").map(|waiting| waiting.message.title), Some("two".to_owned()));
        assert_eq!(db.due("chat", 50).expect("read"), None);
    }

    #[test]
    fn a_queue_holds_so_many_and_drops_the_oldest() {
        let dir = tempfile::tempdir().expect("directory");
        let db = Db::open(&dir.path().join("db")).expect("opened");
        let count = u64::try_from(WAITING_MAX).expect("positive") + 3;
        db.whole(|db| (0..count).try_for_each(|number| db.queue("mail", &message(&number.to_string()), 1)))
            .expect("queued");
        assert_eq!(db.queue_state("mail").expect("read").waiting, count - 3);
        assert_eq!(db.due("mail", 1).expect("read").map(|waiting| waiting.message.title), Some("3".to_owned()));
    }

    #[test]
    fn nothing_of_a_change_that_failed_stays() {
        let dir = tempfile::tempdir().expect("directory");
        let db = Db::open(&dir.path().join("db")).expect("opened");
        let failed = db.whole(|db| {
            db.queue("mail", &message("one"), 1)?;
            Err::<(), _>(DbError::Version(9))
        });
        assert!(failed.is_err());
        assert_eq!(db.queue_state("mail").expect("read").waiting, 0);
    }

    #[test]
    fn a_file_of_a_newer_program_is_left_alone() {
        let dir = tempfile::tempdir().expect("directory");
        let path = dir.path().join("db");
        drop(Db::open(&path).expect("opened"));
        Connection::open(&path).expect("opened").pragma_update(None, "user_version", 2).expect("set");
        assert!(matches!(Db::open(&path), Err(DbError::Version(2))));
    }
}

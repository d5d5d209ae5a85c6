//! Holds the words: identifiers, file names, settings and metrics use the terms of PKCS#11, KMS and HTTP.
//!
//! An entry gives a word that is not used and the standard word for it. Words that are ordinary English, or
//! standard with another meaning, are refused only as whole names, as types, or below one path.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on shall fail")]

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::fs;
use std::path::Path;

/// Names of other crates.
const FOREIGN: &[&str] = &["seal_in_place_append_tag"];

/// A name of more parts is a sentence, as tests have for a name.
const MAX_PARTS_OF_A_WORD: usize = 5;

/// Parts of a name that stand nowhere. `take_back` is two parts that follow each other.
const PARTS: &[(&str, &str)] = &[
    ("accept_bare_text", "accept_non_base64_plaintext"),
    ("act_for", "set_operator"),
    ("adopt", "insert_recovered, cache_handles"),
    ("are_spent", "is_exhausted"),
    ("arrival", "request_context"),
    ("asker", "requester"),
    ("attendance", "hang_detector"),
    ("audit_owed", "audit_pending_outcomes"),
    ("audit_second", "audit_forward"),
    ("begun_version", "pending_version"),
    ("beneath", "inner_module"),
    ("bring_back", "restore_material"),
    ("bring_to_life", "generate_and_activate"),
    ("broken_handshake", "handshake_failed"),
    ("bury", "insert_tombstones"),
    ("check_belonging", "check_binding"),
    ("complain", "print_error"),
    ("complaint", "error"),
    ("cut_for_stranger", "truncate_unauthenticated"),
    ("deadline_ms", "timeout_ms"),
    ("debtor", "penalty_key"),
    ("debts", "penalties"),
    ("deed", "system_event"),
    ("deeds", "system_events"),
    ("desk", "server, work_queue, job_context"),
    ("destroy_owed", "destroy_pending_material"),
    ("door", "listener"),
    ("doors", "protocol_router"),
    ("faint", "minimal"),
    ("forget_nonces", "remove_expired_nonces"),
    ("framer", "request_line_splitter"),
    ("give_back", "return_leases, reset"),
    ("go_live", "activate"),
    ("go_on_destroying", "resume_deletions"),
    ("greet", "tls_handshake"),
    ("greeted", "handshake"),
    ("greeting", "handshake"),
    ("greetings", "handshakes"),
    ("guest", "accepted connection"),
    ("hang_limit", "hang_timeout"),
    ("head_too_large", "header_too_large"),
    ("heard_in", "detect_in_head"),
    ("held_in", "index_field"),
    ("hold_against", "check"),
    ("hold_alias", "lock_alias_row"),
    ("hold_key", "lock_key_row"),
    ("hot_copy", "session_copy"),
    ("hub", "token_state"),
    ("insist", "repeat_if_ambiguous"),
    ("is_owed", "retry_until_written"),
    ("is_stuck", "sync_failed"),
    ("is_vouched_for", "is_identity_verified"),
    ("is_worn", "needs_rotation"),
    ("judge", "classify"),
    ("keep_aside", "keep_replaced_file"),
    ("keeper", "checkpointer"),
    ("key_pair_deadline", "key_pair_timeout"),
    ("kit", "thread_state"),
    ("know_by", "set_identity_key"),
    ("lane", "queue_kind"),
    ("likeness", "similarity"),
    ("logins_again", "relogins"),
    ("long_target", "long_request_line"),
    ("longest_wait", "max_queue_wait"),
    ("look_after", "check"),
    ("look_again", "revalidate"),
    ("look_logged_in", "search_while_logged_in"),
    ("makings", "pending_versions"),
    ("malformed_head", "malformed_request"),
    ("may_pass", "is_transient"),
    ("meter", "invocation_counter"),
    ("misframed", "framing_error"),
    ("misplaces", "conflicts_with"),
    ("more_actions", "extra_permissions"),
    ("names_dangle", "dangling_references"),
    ("note_proven", "note_authenticated"),
    ("open_for_care", "open_offline"),
    ("open_house", "prepare_demo"),
    ("opens_at", "is_valid_at"),
    ("opens_with_pair", "can_decrypt_asymmetric"),
    ("outside_session", "not_in_session_policy"),
    ("owe", "mark_pending_destruction"),
    ("owed", "pending"),
    ("pace", "mean_latency"),
    ("patience", "timeout"),
    ("plain_http_beyond_loopback", "allow_insecure_http"),
    ("pulse", "health_check"),
    ("put_aside", "write_to_new_file"),
    ("reads_public_key", "can_read_public_key"),
    ("rehearse", "test_generation"),
    ("respite", "min_deletion_delay"),
    ("restless", "repeated_logouts"),
    ("seal", "encrypt"),
    ("sealed", "encrypted"),
    ("sealing", "encrypting"),
    ("seals", "encrypts"),
    ("seat", "thread_context"),
    ("sent_blob", "ciphertext_param"),
    ("sent_json", "json_text"),
    ("sent_plaintext", "plaintext_param"),
    ("set_fact", "set_metadata"),
    ("settle", "sync_all, handle_final_failure, release_unused"),
    ("shelf", "document_index"),
    ("shelves", "document_cache"),
    ("shows_its_key", "has_identity_key"),
    ("stands_first", "precedes"),
    ("steady", "with_retry"),
    ("store_behind", "store_stale"),
    ("stranger", "unauthenticated client"),
    ("strangers", "unauthenticated clients"),
    ("summed_refusals", "aggregated_refusals"),
    ("supposed", "simulated"),
    ("take_back", "remove_incomplete"),
    ("takes_dry_run", "dry_run"),
    ("tell_of", "log, report"),
    ("tenancy", "lock_mode"),
    ("tls_greeting", "tls_client_hello"),
    ("token_losses", "token_disconnects"),
    ("unseal", "decrypt"),
    ("unspoken", "implicit_deny"),
    ("unvouched", "unverified"),
    ("vault", "backend"),
    ("vouch", "verify_identity"),
    ("was_ours", "was_initialized_by_us"),
    ("was_out", "was_logged_out"),
    ("well_done", "mark_success"),
];

/// Whole names that stand nowhere, in their case.
const NAMES: &[(&str, &str)] = &[
    ("Arrival", "RequestContext, IncomingRequest"),
    ("Asked", "RequestDetails, RawRequest"),
    ("DeedError", "RecordError"),
    ("FailureLimit", "FailedAuthLimiter"),
    ("LOOK_EVERY", "CHECK_INTERVAL"),
    ("MOMENT", "WAIT"),
    ("OfCode", "CodeLabels"),
    ("OfRequest", "RequestLabels"),
    ("OutOfStep", "Desynchronized"),
    ("REST", "KEEP_ALIVE_TIMEOUT"),
    ("TakeBackKeyVersion", "RemoveIncompleteKeyVersion"),
    ("Touched", "UsedResources"),
    ("hsmgate_build", "hsmgate_build_info"),
    ("is_free", "threads_idle, is_idle"),
    ("is_told", "is_logged"),
    ("lets_in", "any_policy_allows"),
    ("queue_wait_ms", "max_queue_wait_ms"),
];

/// Names that no type has: variants, fields and functions may.
const TYPES: &[(&str, &str)] = &[
    ("Acceptance", "CompatibilityOptions"),
    ("AccessKeys", "CredentialStore"),
    ("Alarm", "DeadlineTimer"),
    ("Assume", "AssumeRoleRequest"),
    ("Changes", "CanManage"),
    ("Control", "KnownAnswer"),
    ("Done", "EmptyResponse"),
    ("Doors", "ProtocolRouter"),
    ("Ending", "ShutdownOutcome"),
    ("Exchange", "ConnectionState"),
    ("Fact", "Metadata"),
    ("Fallback", "WhenAbsent"),
    ("Gauge", "WriterStatus"),
    ("Ground", "MatchedStatement"),
    ("Hold", "FileLock"),
    ("Home", "ObjectLifetime"),
    ("Imports", "CanImport"),
    ("Lag", "ForwardBacklog"),
    ("Layer", "PolicyType"),
    ("Lines", "NonBlockingWriter"),
    ("Load", "CostClass"),
    ("Macs", "CanMac"),
    ("Making", "PendingGuard"),
    ("New", "NewCredential"),
    ("One", "NameArg"),
    ("Opening", "ChainStart, InitializeArgs"),
    ("Opens", "CanDecrypt"),
    ("Purpose", "AccessMode"),
    ("Question", "PolicyRequest"),
    ("Received", "SignedRequest"),
    ("Rest", "ItemBackoff"),
    ("Rests", "Backoff"),
    ("Rights", "ApplicablePolicies"),
    ("Said", "PolicyResult"),
    ("Second", "Forwarder"),
    ("Served", "HandlerFuture"),
    ("Serving", "RequestGuard"),
    ("Shown", "a name of what is shown"),
    ("Spoken", "ProtobufOperation"),
    ("Stamp", "what is stamped: FileStamp"),
    ("Term", "LoginEpoch"),
    ("Use", "KeyAction"),
    ("Uses", "LastUsed"),
    ("Visit", "ClientKeyRequest"),
    ("Who", "PrincipalArg"),
    ("Wire", "Protocol"),
];

/// Parts of a name that do not stand below a path, where they had another meaning.
const PLACES: &[(&str, &str, &str)] = &[
    ("src/app", "is_there", "exists"),
    ("src/audit/journal", "place", "position"),
    ("src/audit/journal", "turn", "switch_half"),
    ("src/audit/system_event", "due", "scheduled"),
    ("src/audit/system_event", "note", "record"),
    ("src/audit/system_event", "perform", "record_around"),
    ("src/audit/record", "answered", "response_elements"),
    ("src/audit/writer", "sink", "writer"),
    ("src/authz", "admits", "network_allows"),
    ("src/authz", "facts", "condition_values"),
    ("src/authz", "hear", "apply"),
    ("src/authz", "question", "policy_request"),
    ("src/config", "taken", "parse_value"),
    ("src/jobs", "each", "run_due"),
    ("src/jobs", "rest", "backoff"),
    ("src/keyring", "left_behind", "incomplete_versions"),
    ("src/keyring", "resting", "first_seen"),
    ("src/model/policy", "fact", "condition_value"),
    ("src/model", "words", "api_enum"),
    ("src/ops", "touched", "used_resources"),
    ("src/pipeline", "hear", "check_source"),
    ("src/pipeline", "hears", "allows"),
    ("src/pipeline", "pass", "execute"),
    ("src/pipeline", "refuse", "reject"),
    ("src/pipeline", "told", "dry_run_result"),
    ("src/store", "facts", "metadata"),
    ("src/store", "is_alone", "is_only_user"),
    ("src/store", "place", "file"),
    ("src/store", "turn", "writer_lock"),
    ("src/token/gcm", "open", "decrypt"),
    ("src/token/handles", "admit", "cache_handles"),
    ("src/token/pool", "place", "slot"),
    ("src/token", "is_ours", "initialized_by_us"),
    ("src/token", "lose", "begin_recovery"),
    ("src/token/handles", "pays", "is_worthwhile"),
    ("src/token", "repair", "recover_session"),
    ("src/token", "retire", "finalize"),
    ("src/token", "returns", "reconnects"),
    ("src/token", "terms", "reconnects"),
    ("src/token", "trial", "key_test"),
    ("src/token", "witness", "identity_key"),
    ("src/server", "quiet", "disarm"),
    ("src/api/instance", "asked", "raw"),
    ("src/api/instance", "spoken", "protocol_error"),
];

/// Files that had a word of the house for a name. Other files are held by [`PARTS`].
const FILES: &[(&str, &str)] = &[
    ("src/audit/restore.rs", "src/audit/journal_replay.rs"),
    ("src/audit/second.rs", "src/audit/forward.rs"),
    ("src/audit/sink.rs", "src/audit/writer.rs"),
    ("src/cli/answer.rs", "src/cli/response.rs"),
    ("src/cli/attachment.rs", "src/cli/policy_arg.rs"),
    ("src/cli/configured.rs", "src/cli/settings.rs"),
    ("src/cli/ending.rs", "src/cli/shutdown_timeout.rs"),
    ("src/cli/installed.rs", "src/cli/paths.rs"),
    ("src/cli/replacement.rs", "src/cli/restart_on_hang.rs"),
    ("src/jobs/rest.rs", "src/jobs/backoff.rs"),
    ("src/keyring/making.rs", "src/keyring/pending_versions.rs"),
    ("src/model/text.rs", "src/model/text_form.rs"),
    ("src/ops/answer.rs", "src/ops/response.rs"),
    ("src/store/facts.rs", "src/store/metadata.rs"),
    ("src/store/follow.rs", "src/store/refresh.rs"),
    ("src/store/hold.rs", "src/store/file_lock.rs"),
    ("src/telemetry/lines.rs", "src/telemetry/writer.rs"),
    ("src/server/long_target.rs", "src/server/long_request_line.rs"),
    ("src/server/refusal.rs", "src/server/error_response.rs"),
    ("src/token/instance.rs", "src/token/initialization.rs"),
    ("src/token/trial.rs", "src/token/key_test.rs"),
    ("tests/fault-token/src/after.rs", "tests/fault-token/src/post_call.rs"),
    ("tests/fault-token/src/chance.rs", "tests/fault-token/src/prng.rs"),
    ("tests/fault-token/src/engine.rs", "tests/fault-token/src/rules.rs"),
    ("tests/fault/observed.rs", "tests/fault/observation.rs"),
    ("tests/fault/rig.rs", "tests/fault/setup.rs"),
    ("tests/fault/together.rs", "tests/fault/concurrency.rs"),
    ("tests/fault/unnoticed.rs", "tests/fault/silent_loss.rs"),
    ("tests/fault/whole.rs", "tests/fault/end_to_end.rs"),
];

/// Names that one type in `src` may have: with two of them a reader has to ask which is meant.
const ONCE: &[&str] = &[
    "Answer", "Audit", "Entry", "Found", "Identity", "Instance", "Kind", "Known", "Line",
    "Material", "Outcome", "Place", "Request", "Serve", "Target", "Verdict", "Writer",
];

/// Settings in the reference that are named by a whole word.
const SETTINGS: &[(&str, &str)] = &[
    ("audit.second", "audit.forward_to"),
    ("token.queue", "token.queue_size"),
    ("token.queue_wait_ms", "token.max_queue_wait_ms"),
];

/// A name in a file.
#[derive(Debug, Clone, Copy)]
struct Name<'a> {
    line: usize,
    text: &'a str,
    /// Whether it is the name of a type that is defined there.
    is_type: bool,
}

/// A name that is not used, and what stands for it.
#[derive(Debug, PartialEq, Eq)]
struct Fault {
    file: String,
    line: usize,
    name: String,
    standard: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, name, standard } = self;
        write!(f, "{file}:{line}: {name}: the standard word is {standard}")
    }
}

/// The names in Rust code, without those in comments, texts and characters.
fn names(code: &str) -> Vec<Name<'_>> {
    let mut names: Vec<Name<'_>> = Vec::new();
    let (mut rest, mut line) = (code, 1);
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => rest.find("*/").map_or(rest.len(), |end| end + 2),
            '"' => text_length(rest),
            'r' if rest.starts_with("r\"") || rest.starts_with("r#\"") => raw_text_length(rest),
            '\'' => character_length(rest),
            '_' | 'a'..='z' | 'A'..='Z' => {
                let end = rest.find(|c: char| c != '_' && !c.is_ascii_alphanumeric());
                let text = &rest[..end.unwrap_or(rest.len())];
                let before = names.last().map_or("", |name| name.text);
                let is_type = ["struct", "enum", "trait", "union", "type"].contains(&before);
                // A type within a trait or an implementation has the name that the trait gives it.
                let is_associated =
                    before == "type" && code[..code.len() - rest.len()].ends_with("    type ");
                names.push(Name { line, text, is_type: is_type && !is_associated });
                text.len()
            }
            _ => first.len_utf8(),
        };
        let (passed, next) = rest.split_at(length);
        line += passed.matches('\n').count();
        rest = next;
    }
    names
}

fn text_length(rest: &str) -> usize {
    let mut is_escaped = false;
    let end = rest.char_indices().skip(1).find(|(_, c)| {
        let is_end = *c == '"' && !is_escaped;
        is_escaped = *c == '\\' && !is_escaped;
        is_end
    });
    end.map_or(rest.len(), |(at, _)| at + 1)
}

fn raw_text_length(rest: &str) -> usize {
    let (start, end) = if rest.starts_with("r#") { (3, "\"#") } else { (2, "\"") };
    rest[start..].find(end).map_or(rest.len(), |at| start + at + end.len())
}

/// Of a character, or of the quote of a lifetime alone.
fn character_length(rest: &str) -> usize {
    let mut characters = rest.char_indices().skip(1);
    match (characters.next(), characters.next()) {
        (Some((_, '\\')), Some((at, c))) => {
            let after = at + c.len_utf8();
            rest[after..].find('\'').map_or(rest.len(), |end| after + end + 1)
        }
        (Some(_), Some((at, '\''))) => at + 1,
        _ => 1,
    }
}

/// `HTTPServer_key2` as `_http_server_key2_`, so that parts are found between underscores.
fn parts(name: &str) -> String {
    let mut parts = String::from("_");
    let letters: Vec<char> = name.chars().collect();
    for (at, letter) in letters.iter().enumerate() {
        let before = at.checked_sub(1).and_then(|at| letters.get(at));
        let is_next_lower = letters.get(at + 1).is_some_and(char::is_ascii_lowercase);
        let begins = letter.is_ascii_uppercase()
            && before.is_some_and(|before| !before.is_ascii_uppercase() || is_next_lower);
        if !letter.is_ascii_alphanumeric() || begins {
            parts.push('_');
        }
        if letter.is_ascii_alphanumeric() {
            parts.push(letter.to_ascii_lowercase());
        }
    }
    parts.push('_');
    while parts.contains("__") {
        parts = parts.replace("__", "_");
    }
    parts
}

fn has(parts: &str, word: &str) -> bool {
    parts
        .match_indices(word)
        .any(|(at, _)| parts[..at].ends_with('_') && parts[at + word.len()..].starts_with('_'))
}

/// What stands for a name that is used nowhere.
fn standard_everywhere(name: &str) -> Option<&'static str> {
    if FOREIGN.contains(&name) {
        return None;
    }
    let parts = parts(name);
    let part = PARTS.iter().find(|(word, _)| has(&parts, word));
    let whole = NAMES.iter().find(|(whole, _)| *whole == name);
    part.or(whole).map(|(_, standard)| *standard)
}

/// What stands for a name in this file.
fn standard_here(file: &str, name: &Name<'_>) -> Option<&'static str> {
    let mut here = PLACES.iter().filter(|(path, _, _)| file.starts_with(path)).peekable();
    let parts = here.peek().map_or_else(String::new, |_| parts(name.text));
    let is_word = parts.matches('_').count() <= MAX_PARTS_OF_A_WORD + 1;
    let place = here.find(|(_, word, _)| is_word && has(&parts, word));
    let is_type = name.is_type && file.starts_with("src/");
    let kind = TYPES.iter().find(|(word, _)| is_type && *word == name.text);
    place.map(|(_, _, standard)| *standard).or(kind.map(|(_, standard)| *standard))
}

/// Every fault in the code of a file.
fn faults(file: &str, code: &str, known: &mut HashMap<String, Option<&'static str>>) -> Vec<Fault> {
    let mut faults = Vec::new();
    for name in names(code) {
        let everywhere = match known.get(name.text) {
            Some(known) => *known,
            None => *known.entry(name.text.to_owned()).or_insert(standard_everywhere(name.text)),
        };
        if let Some(standard) = everywhere.or_else(|| standard_here(file, &name)) {
            let (name, line, standard) = (name.text.to_owned(), name.line, standard.to_owned());
            faults.push(Fault { file: file.to_owned(), line, name, standard });
        }
    }
    faults
}

/// The fault of a file's own name.
fn fault_of_path(file: &str) -> Option<Fault> {
    let stem = Path::new(file).file_stem()?.to_str()?;
    let whole = FILES.iter().find(|(path, _)| *path == file).map(|(_, standard)| *standard);
    let standard = whole.or_else(|| standard_everywhere(stem))?.to_owned();
    Some(Fault { file: file.to_owned(), line: 0, name: stem.to_owned(), standard })
}

/// Every Rust file below a folder, by its path from the root, with its text.
fn sources(folder: &str, found: &mut BTreeMap<String, String>) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for entry in fs::read_dir(root.join(folder)).unwrap() {
        let path = entry.unwrap().path();
        let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
        if path.is_dir() {
            sources(&name, found);
        } else if path.extension().is_some_and(|is| is == "rs") && name != "tests/words.rs" {
            found.insert(name, fs::read_to_string(&path).unwrap());
        }
    }
}

fn all_sources() -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for folder in ["src", "tests", "benches"] {
        sources(folder, &mut found);
    }
    found
}

/// The names between backticks in a page: settings and metrics.
fn names_in_page(page: &str) -> Vec<(usize, String)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
    let text = fs::read_to_string(path).unwrap();
    let mut names = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let quoted = line.split('`').skip(1).step_by(2);
        let is_name =
            |text: &&str| text.chars().all(|c| c == '.' || c == '_' || c.is_ascii_alphanumeric());
        names.extend(quoted.filter(is_name).map(|name| (at + 1, name.to_owned())));
    }
    names
}

#[test]
fn names_in_code_are_standard_words() {
    let (mut found, mut known) = (Vec::new(), HashMap::new());
    for (file, code) in all_sources() {
        found.extend(fault_of_path(&file));
        found.extend(faults(&file, &code, &mut known));
    }
    let found: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert!(found.is_empty(), "{}\n{} names", found.join("\n"), found.len());
}

#[test]
fn settings_and_metrics_are_standard_words() {
    let mut found = Vec::new();
    for page in ["docs/configuration.md", "docs/reference/metrics.md"] {
        for (line, name) in names_in_page(page) {
            let setting = SETTINGS.iter().find(|(setting, _)| *setting == name);
            let standard =
                setting.map(|(_, standard)| *standard).or_else(|| standard_everywhere(&name));
            if let Some(standard) = standard {
                found.push(format!("{page}:{line}: {name}: the standard word is {standard}"));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn a_name_that_could_be_of_several_types_is_of_one() {
    let mut types: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let sources = all_sources();
    for (file, code) in sources.iter().filter(|(file, _)| file.starts_with("src/")) {
        for name in names(code).iter().filter(|name| name.is_type && ONCE.contains(&name.text)) {
            types.entry(name.text).or_default().push(format!("{file}:{}", name.line));
        }
    }
    let twice: Vec<_> = types.iter().filter(|(_, places)| places.len() > 1).collect();
    assert!(twice.is_empty(), "types of one name: {twice:#?}");
}

/// The length of the list, for the record: `cargo test --test words -- --nocapture length`.
#[test]
fn the_list_has_no_entry_twice_and_tells_its_length() {
    let places = PLACES.iter().map(|(path, word, _)| format!("{path} {word}"));
    let words = [PARTS, NAMES, TYPES, FILES, SETTINGS].into_iter().flatten();
    let mut all: Vec<String> = words.map(|(word, _)| (*word).to_owned()).chain(places).collect();
    all.extend(ONCE.iter().map(|name| format!("once {name}")));
    let length = all.len();
    println!("{length} entries on the do-not-use list");
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), length);
    assert!(length > 250, "{length} entries");
}

#[test]
fn a_bad_name_is_found_with_its_line_and_its_standard_word() {
    let code = "fn one() {}\n// a deed\nfn note(deed: &str) { \"deed\"; 'd'; r#\"deed\"#; }\n";
    let found = faults("src/x.rs", code, &mut HashMap::new());
    let fault = Fault {
        file: "src/x.rs".to_owned(),
        line: 3,
        name: "deed".to_owned(),
        standard: "system_event".to_owned(),
    };
    assert_eq!(found, [fault]);
}

#[test]
fn parts_are_found_in_snake_and_in_camel_case_and_only_whole() {
    for (name, is_bad) in [
        ("take_back", true),
        ("TakeBackAll", true),
        ("TAKE_BACK", true),
        ("take_it_back", false),
        ("stake_back", false),
        ("indeed", false),
        ("HTTPDoor", true),
        ("indoors", false),
        ("sealed_secret", true),
    ] {
        assert_eq!(standard_everywhere(name).is_some(), is_bad, "{name}");
    }
}

#[test]
fn words_with_another_meaning_are_found_only_where_they_had_it() {
    let found = |file, code| faults(file, code, &mut HashMap::new()).len();
    assert_eq!(found("src/jobs.rs", "let rest = 1;"), 1);
    assert_eq!(found("src/model/arn.rs", "let rest = 1;"), 0);
    assert_eq!(found("src/x.rs", "struct Load; enum A { Load }"), 1);
    assert_eq!(found("src/x.rs", "impl B for C {\n    type Load = u8;\n}"), 0);
}

#[test]
fn a_file_with_a_bad_name_is_found() {
    assert!(fault_of_path("tests/it/deeds.rs").is_some());
    assert!(fault_of_path("src/jobs/rest.rs").is_some());
    assert!(fault_of_path("src/jobs/backoff.rs").is_none());
}

#[test]
fn lifetimes_and_characters_do_not_hide_code() {
    let texts: Vec<&str> =
        names("fn f<'a>(x: &'a str) { '\\''; 'x'; deed }").iter().map(|n| n.text).collect();
    assert_eq!(texts, ["fn", "f", "a", "x", "a", "str", "deed"]);
}

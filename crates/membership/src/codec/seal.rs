//! Protects datagrams with a shared key: ChaCha20-Poly1305 (RFC 8439), keys by HKDF-SHA256 (RFC 5869).
//!
//! ```text
//!  0        1                9                 17               29
//!  | format | session (8)    | sequence (8)    | nonce (12)     | ciphertext ... | tag (16) |
//!  +----------------- authenticated ----------------------------+------ sealed -------------+
//! ```
//!
//! * A sender starts a `session` of random bytes when it starts, when it comes back with a new identity, and when it has
//!   lost all peers.
//!   Each session has a key of its own, HKDF(secret, salt = session), so that the birthday bound of random
//!   nonces counts the datagrams of one process and not those of the cluster's whole life.
//! * `sequence` counts the session's datagrams; receivers keep a window of the numbers received in each session.
//!   They remember the [`MAX_SESSIONS`] sessions used last. A replay from an older session opens again, and a receiver that
//!   restarted opens each replay. But a replay names an identity of the sender or the receiver that is gone, so membership
//!   ignores the states in it.
//! * Without a secret, datagrams are plain: format 0 and the content. A member with a key refuses plain datagrams.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

pub use ring::aead::NONCE_LEN;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, Salt};

use super::Rejection;
use super::replay::Window;

/// Bytes that sealing adds to a content.
pub const OVERHEAD: usize = HEADER_LEN + TAG_LEN;

/// Sessions whose windows are remembered, some 600 bytes each. A speaker rarely has more than one session, so this is far
/// above the number of nodes that a layer-2 segment carries.
pub const MAX_SESSIONS: usize = 4096;

/// Bytes of a session's name.
pub const SESSION_LEN: usize = 8;

const PLAIN: u8 = 0;
const SEALED: u8 = 1;
const SEQUENCE_AT: usize = 1 + SESSION_LEN;
const NONCE_AT: usize = SEQUENCE_AT + 8;
const HEADER_LEN: usize = NONCE_AT + NONCE_LEN;
const TAG_LEN: usize = 16;

/// Binds derived keys to this use and to this format.
const INFO: &[&[u8]] = &[b"herald gossip v1"];

type Session = [u8; SESSION_LEN];

/// A shared secret of at least 16 bytes, the value of the Secret's `secretkey`. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<[u8]>);

/// The error of a secret that is too short to protect anything.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the gossip key has {length} bytes, at least {} are needed; make one with `openssl rand -base64 32`",
    Secret::MIN_LEN
)]
pub struct SecretTooShort {
    /// The number of its bytes.
    pub length: usize,
}

impl Secret {
    /// Fewest bytes: 128 bits, as MetalLB's controller generates.
    pub const MIN_LEN: usize = 16;

    /// Takes the bytes as they are.
    ///
    /// # Errors
    /// If there are fewer than [`Secret::MIN_LEN`].
    pub fn new(bytes: impl Into<Arc<[u8]>>) -> Result<Self, SecretTooShort> {
        let bytes = bytes.into();
        if bytes.len() < Self::MIN_LEN {
            return Err(SecretTooShort { length: bytes.len() });
        }
        Ok(Self(bytes))
    }

    /// Returns a number by which administrators recognise the secret in logs. Nothing else about a random secret follows from it.
    pub fn fingerprint(&self) -> u32 {
        let mut bytes = [0; 4];
        let secret = Salt::new(HKDF_SHA256, &[]).extract(&self.0);
        let okm = secret.expand(&[b"herald gossip fingerprint"], HKDF_SHA256);
        okm.and_then(|okm| {
            let mut full = [0; 32];
            okm.fill(&mut full)?;
            bytes.copy_from_slice(&full[..4]);
            Ok(())
        })
        .expect("one output is shorter than HKDF's limit");
        u32::from_be_bytes(bytes)
    }

    fn session_key(&self, session: Session) -> LessSafeKey {
        let secret = Salt::new(HKDF_SHA256, &session).extract(&self.0);
        let okm = secret
            .expand(INFO, &CHACHA20_POLY1305)
            .expect("one key is shorter than HKDF's limit");
        LessSafeKey::new(UnboundKey::from(okm))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Seals the datagrams to peers and opens the datagrams of peers.
pub struct Seal {
    secrets: Vec<Secret>,
    sender: Option<Sender>,
    received: ReceivedSessions,
}

struct Sender {
    session: Session,
    key: LessSafeKey,
    sequence: u64,
}

impl Seal {
    /// Seals with the first of `secrets` and opens with all of them. Without a secret, datagrams are plain. `session` has to
    /// be random.
    pub fn new(secrets: Vec<Secret>, session: [u8; SESSION_LEN]) -> Self {
        let mut seal = Self {
            secrets,
            sender: None,
            received: ReceivedSessions::default(),
        };
        seal.start_session(session);
        seal
    }

    /// Starts a new session with random bytes. A machine that was rolled back to a snapshot repeats its sequence numbers,
    /// and peers drop its datagrams as replays until it starts a new session.
    pub fn start_session(&mut self, session: [u8; SESSION_LEN]) {
        self.sender = self.secrets.first().map(|secret| Sender {
            session,
            key: secret.session_key(session),
            sequence: 0,
        });
    }

    /// Replaces the secrets, as [`Seal::new`] takes them, and starts a new session if another one seals. A secret that is not
    /// among them opens nothing from now on, not even datagrams of sessions that it opened before.
    pub fn set_secrets(&mut self, secrets: Vec<Secret>, session: [u8; SESSION_LEN]) {
        let seals_otherwise = secrets.first() != self.secrets.first();
        self.secrets = secrets;
        self.received
            .sessions
            .retain(|_, received| self.secrets.contains(&received.secret));
        if seals_otherwise {
            self.start_session(session);
        }
    }

    /// Returns the datagram that carries `content`. `nonce` has to be random: the cipher is broken if two datagrams of one
    /// session have the same.
    pub fn seal(&mut self, content: &[u8], nonce: [u8; NONCE_LEN]) -> Vec<u8> {
        let mut datagram = Vec::with_capacity(content.len() + OVERHEAD);
        let Some(sender) = &mut self.sender else {
            datagram.push(PLAIN);
            datagram.extend(content);
            return datagram;
        };
        datagram.push(SEALED);
        datagram.extend(sender.session);
        datagram.extend(sender.sequence.to_be_bytes());
        datagram.extend(nonce);
        sender.sequence += 1;
        let (header, _) = datagram.split_at(HEADER_LEN);
        let aad = Aad::from(<[u8; HEADER_LEN]>::try_from(header).expect("just written"));
        datagram.extend(content);
        let tag = sender
            .key
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                aad,
                &mut datagram[HEADER_LEN..],
            )
            .expect("a datagram is shorter than the cipher's limit");
        datagram.extend(tag.as_ref());
        datagram
    }

    /// Returns the content of `datagram` if it is authentic and new.
    ///
    /// # Errors
    /// If it is not, or if it has another format.
    pub fn open(&mut self, datagram: &[u8]) -> Result<Vec<u8>, Rejection> {
        let (format, body) = datagram.split_first().ok_or(Rejection::Truncated)?;
        match (*format, self.secrets.is_empty()) {
            (PLAIN, true) => Ok(body.to_vec()),
            (SEALED, false) if datagram.len() < OVERHEAD => Err(Rejection::Truncated),
            (SEALED, false) => self.open_sealed(datagram),
            (_, _) => Err(Rejection::Format),
        }
    }

    /// Whether a key has to be derived to open `datagram`. A sender without a key can cause that with invented sessions.
    pub fn must_derive(&self, datagram: &[u8]) -> bool {
        let is_sealed = datagram.first() == Some(&SEALED) && datagram.len() >= OVERHEAD;
        is_sealed && !self.secrets.is_empty() && !self.received.sessions.contains_key(&field(datagram, 1))
    }

    fn open_sealed(&mut self, datagram: &[u8]) -> Result<Vec<u8>, Rejection> {
        let session: Session = field(datagram, 1);
        let sequence = u64::from_be_bytes(field(datagram, SEQUENCE_AT));
        if let Some(received) = self.received.get(session) {
            // Before decryption, so that a flood of replays costs next to nothing.
            if !received.window.accepts(sequence) {
                return Err(Rejection::Replayed);
            }
            let content = decrypt(&received.key, datagram)?;
            received.window.record(sequence);
            return Ok(content);
        }
        for secret in &self.secrets {
            let key = secret.session_key(session);
            if let Ok(content) = decrypt(&key, datagram) {
                let mut window = Window::new();
                window.record(sequence);
                self.received.insert(session, secret.clone(), key, window);
                return Ok(content);
            }
        }
        Err(Rejection::Unauthentic)
    }
}

fn field<const N: usize>(datagram: &[u8], at: usize) -> [u8; N] {
    datagram[at..at + N]
        .try_into()
        .expect("the header's length was checked")
}

fn decrypt(key: &LessSafeKey, datagram: &[u8]) -> Result<Vec<u8>, Rejection> {
    let nonce = Nonce::assume_unique_for_key(field(datagram, NONCE_AT));
    let header: [u8; HEADER_LEN] = field(datagram, 0);
    let mut content = datagram[HEADER_LEN..].to_vec();
    let length = key
        .open_in_place(nonce, Aad::from(header), &mut content)
        .map_err(|_| Rejection::Unauthentic)?
        .len();
    content.truncate(length);
    Ok(content)
}

/// The sessions of peers, at most [`MAX_SESSIONS`]. Only authentic datagrams create an entry.
#[derive(Default)]
struct ReceivedSessions {
    sessions: BTreeMap<Session, ReceivedSession>,
    uses: u64,
}

struct ReceivedSession {
    /// The secret that opened it first.
    secret: Secret,
    key: LessSafeKey,
    window: Window,
    used: u64,
}

impl ReceivedSessions {
    fn get(&mut self, session: Session) -> Option<&mut ReceivedSession> {
        self.uses += 1;
        let received = self.sessions.get_mut(&session)?;
        received.used = self.uses;
        Some(received)
    }

    fn insert(&mut self, session: Session, secret: Secret, key: LessSafeKey, window: Window) {
        if self.sessions.len() >= MAX_SESSIONS {
            let oldest = self.sessions.iter().min_by_key(|(_, received)| received.used);
            if let Some((&oldest, _)) = oldest {
                self.sessions.remove(&oldest);
            }
        }
        let used = self.uses;
        let received = ReceivedSession {
            secret,
            key,
            window,
            used,
        };
        self.sessions.insert(session, received);
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::string::ToString as _;
    use core::sync::atomic::{AtomicU32, Ordering};

    use proptest::prelude::*;

    use super::*;

    impl Seal {
        /// Restores the state of the start of the present session, as after a roll-back of the machine.
        pub(crate) fn roll_back(&mut self) {
            self.sender.as_mut().expect("it has a key").sequence = 0;
        }
    }

    fn secret(byte: u8) -> Secret {
        Secret::new([byte; 22]).expect("long enough")
    }

    /// Returns a seal in a session of its own.
    fn seal(secrets: impl IntoIterator<Item = u8>) -> Seal {
        Seal::new(secrets.into_iter().map(secret).collect(), unique())
    }

    /// Returns bytes that no other call returns.
    fn unique<const N: usize>() -> [u8; N] {
        static CALLS: AtomicU32 = AtomicU32::new(0);
        let mut bytes = [0; N];
        bytes[..4].copy_from_slice(&CALLS.fetch_add(1, Ordering::Relaxed).to_be_bytes());
        bytes
    }

    proptest! {
        #[test]
        fn a_sealed_datagram_opens_once(content: Vec<u8>) {
            let (mut sender, mut receiver) = (seal([1]), seal([1]));
            let datagram = sender.seal(&content, unique());
            prop_assert_eq!(datagram.len(), content.len() + OVERHEAD);
            prop_assert_eq!(receiver.open(&datagram), Ok(content));
            prop_assert_eq!(receiver.open(&datagram), Err(Rejection::Replayed));
        }

        #[test]
        fn a_datagram_changed_anywhere_is_refused(
            content: Vec<u8>,
            known_sender: bool,
            at: prop::sample::Index,
            bit in 0_u8..8,
        ) {
            let (mut sender, mut receiver) = (seal([1]), seal([1]));
            if known_sender {
                let first = sender.seal(b"hello", unique());
                prop_assert!(receiver.open(&first).is_ok());
            }
            let datagram = sender.seal(&content, unique());
            let mut changed = datagram.clone();
            changed[at.index(datagram.len())] ^= 1_u8 << bit;
            prop_assert!(receiver.open(&changed).is_err());
            // The refused datagram must not have used up the sequence number of the authentic one.
            prop_assert_eq!(receiver.open(&datagram), Ok(content));
        }

        #[test]
        fn a_truncated_datagram_is_refused(content: Vec<u8>, cut: prop::sample::Index) {
            let (mut sender, mut receiver) = (seal([1]), seal([1]));
            let datagram = sender.seal(&content, unique());
            prop_assert!(receiver.open(&datagram[..cut.index(datagram.len())]).is_err());
        }

        #[test]
        fn random_bytes_are_refused(mut bytes: Vec<u8>, as_sealed: bool) {
            if as_sealed && !bytes.is_empty() {
                bytes[0] = SEALED;
            }
            prop_assert!(seal([1]).open(&bytes).is_err());
        }
    }

    #[test]
    fn the_content_is_unreadable_and_sealed_differently_each_time() {
        let mut sender = seal([1]);
        let content = b"node-1 is draining";
        let first = sender.seal(content, unique());
        let second = sender.seal(content, unique());
        assert!(!first.windows(6).any(|window| content.starts_with(window)));
        assert_ne!(first[HEADER_LEN..], second[HEADER_LEN..]);
    }

    #[test]
    fn each_of_the_receivers_keys_opens_and_the_first_of_the_sender_seals() {
        let datagram = seal([2, 1]).seal(b"x", unique());
        assert_eq!(seal([1, 2]).open(&datagram), Ok(b"x".to_vec()));
        assert_eq!(seal([2]).open(&datagram), Ok(b"x".to_vec()));
        assert_eq!(seal([1]).open(&datagram), Err(Rejection::Unauthentic));
    }

    #[test]
    fn a_secret_that_is_removed_opens_nothing_more_and_one_that_stays_keeps_its_windows() {
        let (mut old, mut new) = (seal([1]), seal([2]));
        let mut receiver = seal([1, 2]);
        let [known_old, known_new] = [old.seal(b"x", unique()), new.seal(b"x", unique())];
        assert!(receiver.open(&known_old).is_ok());
        assert!(receiver.open(&known_new).is_ok());
        receiver.set_secrets([secret(2)].into(), unique());
        assert_eq!(
            receiver.open(&old.seal(b"x", unique())),
            Err(Rejection::Unauthentic)
        );
        assert_eq!(receiver.open(&known_new), Err(Rejection::Replayed));
        assert_eq!(receiver.open(&new.seal(b"x", unique())), Ok(b"x".to_vec()));
    }

    #[test]
    fn another_first_secret_starts_a_session_and_the_same_one_goes_on() {
        let mut sender = seal([1]);
        let session = |datagram: &[u8]| -> Session { field(datagram, 1) };
        let first = session(&sender.seal(b"x", unique()));
        sender.set_secrets([secret(1), secret(2)].into(), unique());
        assert_eq!(session(&sender.seal(b"x", unique())), first);
        sender.set_secrets([secret(2), secret(1)].into(), unique());
        let rotated = sender.seal(b"x", unique());
        assert_ne!(session(&rotated), first);
        assert_eq!(seal([2]).open(&rotated), Ok(b"x".to_vec()));
    }

    #[test]
    fn late_datagrams_open_in_any_order_within_the_window() {
        let (mut sender, mut receiver) = (seal([1]), seal([1]));
        let mut seal_one = || sender.seal(b"x", unique());
        let datagrams: Vec<Vec<u8>> = (0..200).map(|_| seal_one()).collect();
        for datagram in datagrams.iter().rev() {
            assert!(receiver.open(datagram).is_ok());
        }
        for datagram in &datagrams {
            assert_eq!(receiver.open(datagram), Err(Rejection::Replayed));
        }
    }

    #[test]
    fn a_new_session_of_the_same_sender_is_no_replay() {
        let (mut sender, mut receiver) = (seal([1]), seal([1]));
        for _ in 0..3 {
            let datagram = sender.seal(b"x", unique());
            assert!(receiver.open(&datagram).is_ok());
            sender.start_session(unique());
        }
    }

    #[test]
    fn sessions_beyond_the_limit_evict_the_least_recently_used() {
        let mut receiver = seal([1]);
        let (mut steady, mut evicted) = (seal([1]), seal([1]));
        let lost = evicted.seal(b"x", unique());
        assert!(receiver.open(&lost).is_ok());
        let mut many = seal([1]);
        let mut latest = Vec::new();
        for _ in 0..MAX_SESSIONS {
            let datagram = steady.seal(b"x", unique());
            assert!(receiver.open(&datagram).is_ok());
            latest = datagram;
            many.start_session(unique());
            let datagram = many.seal(b"x", unique());
            assert!(receiver.open(&datagram).is_ok());
        }
        assert_eq!(receiver.received.sessions.len(), MAX_SESSIONS);
        assert_eq!(receiver.open(&latest), Err(Rejection::Replayed));
        assert!(receiver.open(&lost).is_ok(), "its window was evicted");
    }

    #[test]
    fn only_the_first_datagram_of_a_session_needs_a_key_derived() {
        let (mut sender, mut receiver) = (seal([1]), seal([1]));
        let datagrams = [(); 2].map(|()| sender.seal(b"x", unique()));
        assert!(receiver.must_derive(&datagrams[0]));
        assert!(receiver.open(&datagrams[0]).is_ok());
        assert!(!receiver.must_derive(&datagrams[1]));
        assert!(!seal([]).must_derive(&datagrams[1]));
        assert!(!receiver.must_derive(&datagrams[1][..OVERHEAD - 1]));
    }

    #[test]
    fn without_a_key_datagrams_are_plain_and_sealed_ones_refused() {
        let datagram = seal([]).seal(b"x", unique());
        assert_eq!(seal([]).open(&datagram), Ok(b"x".to_vec()));
        assert_eq!(seal([1]).open(&datagram), Err(Rejection::Format));
        let datagram = seal([1]).seal(b"x", unique());
        assert_eq!(seal([]).open(&datagram), Err(Rejection::Format));
        assert_eq!(seal([]).open(&[]), Err(Rejection::Truncated));
    }

    #[test]
    fn a_short_secret_is_refused_with_the_remedy_and_no_secret_is_printed() {
        let refused = Secret::new([7; 15]).expect_err("too short");
        assert_eq!(
            refused.to_string(),
            "the gossip key has 15 bytes, at least 16 are needed; make one with `openssl rand -base64 32`"
        );
        assert_eq!(format!("{:?}", secret(7)), "Secret(..)");
        assert_eq!(secret(7).fingerprint(), secret(7).fingerprint());
        assert_ne!(secret(7).fingerprint(), secret(8).fingerprint());
    }
}

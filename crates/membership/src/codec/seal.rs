//! Protects datagrams with a shared key: ChaCha20-Poly1305 (RFC 8439), keys by HKDF-SHA256 (RFC 5869).
//!
//! ```text
//!  0        1                9                 17               29
//!  | format | session (8)    | sequence (8)    | nonce (12)     | ciphertext ... | tag (16) |
//!  +----------------- authenticated ----------------------------+------ sealed -------------+
//! ```
//!
//! * A sender draws a random `session` when it starts, when it comes back under a new identity, and when it has
//!   lost all peers.
//!   Each session has a key of its own, HKDF(secret, salt = session), so that the birthday bound of random
//!   nonces counts the datagrams of one process and not those of the cluster's whole life.
//! * `sequence` counts the session's datagrams; receivers keep a window of those seen per session.
//!   They remember the [`MAX_SESSIONS`] sessions used last. A replay from an older one opens again, and to a
//!   receiver that restarted every one does, but it names an identity of the sender or the receiver that is gone,
//!   so membership believes nothing that it says of anybody's state.
//! * Without a secret, datagrams are plain: format 0 and the content. A member with a key refuses those.

use std::collections::BTreeMap;
use std::fmt;

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, Salt};
use ring::rand::{SecureRandom, SystemRandom};

use super::Rejection;
use super::replay::Window;

/// Bytes that sealing adds.
pub const OVERHEAD: usize = HEADER_LEN + TAG_LEN;

/// Sessions whose windows are remembered. A session is one life of one speaker, so this is far above the
/// number of nodes that a layer-2 segment carries; some 600 bytes each.
pub const MAX_SESSIONS: usize = 4096;

const PLAIN: u8 = 0;
const SEALED: u8 = 1;
const SESSION_LEN: usize = 8;
const SEQUENCE_AT: usize = 1 + SESSION_LEN;
const NONCE_AT: usize = SEQUENCE_AT + 8;
const HEADER_LEN: usize = NONCE_AT + NONCE_LEN;
const TAG_LEN: usize = 16;

/// Binds derived keys to this use and to this format.
const INFO: &[&[u8]] = &[b"herald gossip v1"];

type Session = [u8; SESSION_LEN];

/// A shared secret of at least 16 bytes, the value of the Secret's `secretkey`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

/// A secret is too short to protect anything.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the gossip key has {length} bytes, at least {} are needed; make one with `openssl rand -base64 32`",
    Secret::MIN_LEN
)]
pub struct SecretTooShort {
    /// How many bytes there are.
    pub length: usize,
}

/// The operating system gave no random bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the operating system gives no random bytes")]
pub struct NoRandomness;

impl Secret {
    /// Fewest bytes: 128 bits, what MetalLB's controller puts there.
    pub const MIN_LEN: usize = 16;

    /// Takes the bytes as they are.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Result<Self, SecretTooShort> {
        let bytes = bytes.into();
        if bytes.len() < Self::MIN_LEN {
            return Err(SecretTooShort { length: bytes.len() });
        }
        Ok(Self(bytes))
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

/// Seals what goes out and opens what comes in.
pub struct Seal {
    secrets: Vec<Secret>,
    random: SystemRandom,
    sender: Option<Sender>,
    peers: Peers,
}

struct Sender {
    session: Session,
    key: LessSafeKey,
    sequence: u64,
}

impl Seal {
    /// Seals with the first of `secrets` and opens with any. With none, datagrams stay plain.
    pub fn new(secrets: Vec<Secret>) -> Result<Self, NoRandomness> {
        let mut seal = Self {
            secrets,
            random: SystemRandom::new(),
            sender: None,
            peers: Peers::default(),
        };
        seal.start_session()?;
        Ok(seal)
    }

    /// Draws a new session. A machine rolled back to a snapshot repeats its sequence numbers, and is taken for a
    /// replay of itself, until it does this.
    pub fn start_session(&mut self) -> Result<(), NoRandomness> {
        let Some(secret) = self.secrets.first() else {
            return Ok(());
        };
        let mut session = Session::default();
        self.random.fill(&mut session).map_err(|_| NoRandomness)?;
        self.sender = Some(Sender {
            session,
            key: secret.session_key(session),
            sequence: 0,
        });
        Ok(())
    }

    /// The datagram that carries `content`.
    pub fn seal(&mut self, content: &[u8]) -> Result<Vec<u8>, NoRandomness> {
        let mut datagram = Vec::with_capacity(content.len() + OVERHEAD);
        let Some(sender) = &mut self.sender else {
            datagram.push(PLAIN);
            datagram.extend(content);
            return Ok(datagram);
        };
        let mut nonce = [0; NONCE_LEN];
        self.random.fill(&mut nonce).map_err(|_| NoRandomness)?;
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
        Ok(datagram)
    }

    /// The content of `datagram`, if it is authentic and new.
    pub fn open(&mut self, datagram: &[u8]) -> Result<Vec<u8>, Rejection> {
        let (format, body) = datagram.split_first().ok_or(Rejection::Truncated)?;
        match (*format, self.secrets.is_empty()) {
            (PLAIN, true) => Ok(body.to_vec()),
            (SEALED, false) if datagram.len() < OVERHEAD => Err(Rejection::Truncated),
            (SEALED, false) => self.open_sealed(datagram),
            (_, _) => Err(Rejection::Format),
        }
    }

    /// Whether opening `datagram` takes deriving a key, which anybody can bring about by making up a session.
    pub fn must_derive(&self, datagram: &[u8]) -> bool {
        let is_sealed = datagram.first() == Some(&SEALED) && datagram.len() >= OVERHEAD;
        is_sealed && !self.secrets.is_empty() && !self.peers.sessions.contains_key(&field(datagram, 1))
    }

    fn open_sealed(&mut self, datagram: &[u8]) -> Result<Vec<u8>, Rejection> {
        let session: Session = field(datagram, 1);
        let sequence = u64::from_be_bytes(field(datagram, SEQUENCE_AT));
        if let Some(peer) = self.peers.get(session) {
            // Before decrypting: a flood of replays costs next to nothing.
            if !peer.window.accepts(sequence) {
                return Err(Rejection::Replayed);
            }
            let content = decrypt(&peer.key, datagram)?;
            peer.window.record(sequence);
            return Ok(content);
        }
        for secret in &self.secrets {
            let key = secret.session_key(session);
            if let Ok(content) = decrypt(&key, datagram) {
                let mut window = Window::new();
                window.record(sequence);
                self.peers.insert(session, key, window);
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

/// The sessions heard of, at most [`MAX_SESSIONS`]. Only authentic datagrams make an entry.
#[derive(Default)]
struct Peers {
    sessions: BTreeMap<Session, Peer>,
    uses: u64,
}

struct Peer {
    key: LessSafeKey,
    window: Window,
    used: u64,
}

impl Peers {
    fn get(&mut self, session: Session) -> Option<&mut Peer> {
        self.uses += 1;
        let peer = self.sessions.get_mut(&session)?;
        peer.used = self.uses;
        Some(peer)
    }

    fn insert(&mut self, session: Session, key: LessSafeKey, window: Window) {
        if self.sessions.len() >= MAX_SESSIONS {
            let oldest = self.sessions.iter().min_by_key(|(_, peer)| peer.used);
            if let Some((&oldest, _)) = oldest {
                self.sessions.remove(&oldest);
            }
        }
        let used = self.uses;
        self.sessions.insert(session, Peer { key, window, used });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    impl Seal {
        /// As after a roll-back of the machine to when the present session began.
        pub(crate) fn roll_back(&mut self) {
            self.sender.as_mut().expect("it has a key").sequence = 0;
        }
    }

    fn secret(byte: u8) -> Secret {
        Secret::new([byte; 22]).expect("long enough")
    }

    fn seal(secrets: impl IntoIterator<Item = u8>) -> Seal {
        Seal::new(secrets.into_iter().map(secret).collect()).expect("random bytes")
    }

    proptest! {
        #[test]
        fn what_is_sealed_opens_once(content: Vec<u8>) {
            let (mut sender, mut receiver) = (seal([1]), seal([1]));
            let datagram = sender.seal(&content).expect("random bytes");
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
                let first = sender.seal(b"hello").expect("random bytes");
                prop_assert!(receiver.open(&first).is_ok());
            }
            let datagram = sender.seal(&content).expect("random bytes");
            let mut changed = datagram.clone();
            changed[at.index(datagram.len())] ^= 1_u8 << bit;
            prop_assert!(receiver.open(&changed).is_err());
            // The refused one must not have used up the place of the true one.
            prop_assert_eq!(receiver.open(&datagram), Ok(content));
        }

        #[test]
        fn a_datagram_cut_short_is_refused(content: Vec<u8>, cut: prop::sample::Index) {
            let (mut sender, mut receiver) = (seal([1]), seal([1]));
            let datagram = sender.seal(&content).expect("random bytes");
            prop_assert!(receiver.open(&datagram[..cut.index(datagram.len())]).is_err());
        }

        #[test]
        fn garbage_is_refused(mut bytes: Vec<u8>, as_sealed: bool) {
            if as_sealed && !bytes.is_empty() {
                bytes[0] = SEALED;
            }
            prop_assert!(seal([1]).open(&bytes).is_err());
        }
    }

    #[test]
    fn the_content_cannot_be_read_and_never_looks_the_same() {
        let mut sender = seal([1]);
        let content = b"node-1 is draining";
        let first = sender.seal(content).expect("random bytes");
        let second = sender.seal(content).expect("random bytes");
        assert!(!first.windows(6).any(|window| content.starts_with(window)));
        assert_ne!(first[HEADER_LEN..], second[HEADER_LEN..]);
    }

    #[test]
    fn any_of_the_receivers_keys_opens_and_the_senders_first_seals() {
        let datagram = seal([2, 1]).seal(b"x").expect("random bytes");
        assert_eq!(seal([1, 2]).open(&datagram), Ok(b"x".to_vec()));
        assert_eq!(seal([2]).open(&datagram), Ok(b"x".to_vec()));
        assert_eq!(seal([1]).open(&datagram), Err(Rejection::Unauthentic));
    }

    #[test]
    fn late_datagrams_open_in_any_order_within_the_window() {
        let (mut sender, mut receiver) = (seal([1]), seal([1]));
        let mut seal_one = || sender.seal(b"x").expect("random bytes");
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
            let datagram = sender.seal(b"x").expect("random bytes");
            assert!(receiver.open(&datagram).is_ok());
            sender.start_session().expect("random bytes");
        }
    }

    #[test]
    fn sessions_beyond_the_limit_push_out_those_used_least_recently() {
        let mut receiver = seal([1]);
        let (mut faithful, mut forgotten) = (seal([1]), seal([1]));
        let lost = forgotten.seal(b"x").expect("random bytes");
        assert!(receiver.open(&lost).is_ok());
        let mut many = seal([1]);
        let mut kept = Vec::new();
        for _ in 0..MAX_SESSIONS {
            let datagram = faithful.seal(b"x").expect("random bytes");
            assert!(receiver.open(&datagram).is_ok());
            kept = datagram;
            many.start_session().expect("random bytes");
            let datagram = many.seal(b"x").expect("random bytes");
            assert!(receiver.open(&datagram).is_ok());
        }
        assert_eq!(receiver.peers.sessions.len(), MAX_SESSIONS);
        assert_eq!(receiver.open(&kept), Err(Rejection::Replayed));
        assert!(receiver.open(&lost).is_ok(), "its window is forgotten");
    }

    #[test]
    fn only_the_first_datagram_of_a_session_takes_deriving_a_key() {
        let (mut sender, mut receiver) = (seal([1]), seal([1]));
        let datagrams = [(); 2].map(|()| sender.seal(b"x").expect("random bytes"));
        assert!(receiver.must_derive(&datagrams[0]));
        assert!(receiver.open(&datagrams[0]).is_ok());
        assert!(!receiver.must_derive(&datagrams[1]));
        assert!(!seal([]).must_derive(&datagrams[1]));
        assert!(!receiver.must_derive(&datagrams[1][..OVERHEAD - 1]));
    }

    #[test]
    fn without_a_key_datagrams_are_plain_and_sealed_ones_refused() {
        let datagram = seal([]).seal(b"x").expect("random bytes");
        assert_eq!(seal([]).open(&datagram), Ok(b"x".to_vec()));
        assert_eq!(seal([1]).open(&datagram), Err(Rejection::Format));
        let datagram = seal([1]).seal(b"x").expect("random bytes");
        assert_eq!(seal([]).open(&datagram), Err(Rejection::Format));
        assert_eq!(seal([]).open(&[]), Err(Rejection::Truncated));
    }

    #[test]
    fn a_short_secret_is_refused_with_the_remedy_and_none_is_ever_printed() {
        let refused = Secret::new([7; 15]).expect_err("too short");
        assert_eq!(
            refused.to_string(),
            "the gossip key has 15 bytes, at least 16 are needed; make one with `openssl rand -base64 32`"
        );
        assert_eq!(format!("{:?}", secret(7)), "Secret(..)");
    }
}

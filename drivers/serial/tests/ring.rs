//! The byte queue.

use serial::ring::Ring;

#[test]
fn bytes_come_out_in_order_over_the_end_of_the_array() {
    let mut ring = Ring::<4>::new();
    assert_eq!(ring.push_all(b"abc"), 3);
    assert_eq!(ring.pop(), Some(b'a'));
    assert_eq!(ring.push_all(b"defg"), 2);
    assert!(!ring.push(b'x'));
    let mut out = [0; 8];
    assert_eq!(ring.pop_all(&mut out), 4);
    assert_eq!(&out[..4], b"bcde");
    assert_eq!((ring.pop(), ring.len(), ring.is_empty()), (None, 0, true));
}

//! The pickle reader against honest, malicious and broken programs.

use proptest::prelude::*;

use super::*;

/// `os.system("echo pwned")` as Python's pickler writes it: GLOBAL, argument tuple, REDUCE, STOP.
const SYSTEM: &[u8] = b"\x80\x02cposix\nsystem\nq\x00X\x0a\x00\x00\x00echo pwnedq\x01\x85q\x02Rq\x03.";

#[test]
fn a_call_of_os_system_is_refused_by_name() {
    let error = parse(SYSTEM).unwrap_err();
    assert_eq!(error, PickleError::ForbiddenGlobal { name: "posix.system".into() });
    assert!(error.to_string().contains("posix.system"));
}

#[test]
fn every_way_of_naming_a_function_is_refused() {
    // Protocol 4: STACK_GLOBAL with short strings.
    let stack_global = b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93.";
    assert!(matches!(parse(stack_global), Err(PickleError::ForbiddenGlobal { name }) if name == "builtins.eval"));
    // Protocol 0: INST.
    let inst = b"(S'ls'\nios\nsystem\n.";
    assert!(matches!(parse(inst), Err(PickleError::ForbiddenGlobal { name }) if name == "os.system"));
    // Extension registry, OBJ and out-of-band buffers.
    for program in [&b"\x80\x02\x82\x01."[..], b"(o.", b"\x97."] {
        assert!(matches!(parse(program), Err(PickleError::ForbiddenOpcode { .. })), "{program:?}");
    }
}

#[test]
fn an_allowed_name_hidden_behind_an_attribute_is_refused() {
    assert!(matches!(parse(b"ctorch\nserialization.os.system\n."), Err(PickleError::ForbiddenGlobal { .. })));
    assert!(matches!(parse(b"ccollections\nOrderedDict.__init__\n."), Err(PickleError::ForbiddenGlobal { .. })));
}

#[test]
fn plain_values_are_read() {
    // {"a": [1, -2, 3.0, None, True], "b": "x"}
    let bytes = b"\x80\x02}q\x00(X\x01\x00\x00\x00a]q\x01(K\x01J\xfe\xff\xff\xffG@\x08\x00\x00\x00\x00\x00\x00N\x88eX\x01\x00\x00\x00bX\x01\x00\x00\x00xu.";
    let pickle = parse(bytes).unwrap();
    let Some(Node::List(items)) = pickle.get(pickle.root(), "a") else { panic!("no list") };
    let items: Vec<_> = items.iter().map(|&i| pickle.node(i).clone()).collect();
    assert_eq!(items, [Node::Int(1), Node::Int(-2), Node::Float(3.0), Node::None, Node::Bool(true)]);
    assert_eq!(pickle.get(pickle.root(), "b"), Some(&Node::Str("x".into())));
}

/// What training scripts keep beside the weights, written by Python's pickler at protocol 2: an ordered dict with an
/// attribute, `argparse.Namespace(lr=0.1, name="x")`, an integer, `numpy.float64(0.5)`, a tuple.
const RECORD: &[u8] = b"\x80\x02}q\x00(X\x05\x00\x00\x00modelq\x01ccollections\nOrderedDict\nq\x02)Rq\x03X\x01\x00\x00\x00aq\x04K\x01s}q\x05X\x09\x00\x00\x00_metadataq\x06}q\x07X\x01\x00\x00\x00vq\x08K\x02ssbX\x04\x00\x00\x00argsq\x09cargparse\nNamespace\nq\n)\x81q\x0b}q\x0c(X\x02\x00\x00\x00lrq\x0dG?\xb9\x99\x99\x99\x99\x99\x9aX\x04\x00\x00\x00nameq\x0eX\x01\x00\x00\x00xq\x0fubX\x05\x00\x00\x00epochq\x10K\x03X\x04\x00\x00\x00bestq\x11cnumpy._core.multiarray\nscalar\nq\x12cnumpy\ndtype\nq\x13X\x02\x00\x00\x00f8q\x14\x89\x88\x87q\x15Rq\x16(K\x03X\x01\x00\x00\x00<q\x17NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tq\x18bc_codecs\nencode\nq\x19X\x09\x00\x00\x00\x00\x00\x00\x00\x00\x00\xc3\xa0?q\x1aX\x06\x00\x00\x00latin1q\x1b\x86q\x1cRq\x1d\x86q\x1eRq\x1fX\x04\x00\x00\x00sizeq K\x02K\x03\x86q!u.";

#[test]
fn records_beside_the_weights_are_kept_opaque() {
    let pickle = parse(RECORD).unwrap();
    let root = pickle.root();
    let model = pickle.get(root, "model").unwrap();
    assert_eq!(pickle.get(model, "a"), Some(&Node::Int(1)));
    assert_eq!(pickle.get(root, "epoch"), Some(&Node::Int(3)));
    assert_eq!(pickle.get(root, "args"), Some(&Node::Opaque(Global::Inert("argparse.Namespace"))));
    assert!(
        matches!(pickle.get(root, "best"), Some(Node::Opaque(Global::Inert(name))) if name.ends_with("multiarray.scalar"))
    );
}

#[test]
fn every_truncation_is_an_error() {
    let bytes = b"\x80\x02}q\x00(X\x01\x00\x00\x00a]q\x01(K\x01J\xfe\xff\xff\xffG@\x08\x00\x00\x00\x00\x00\x00N\x88eu.";
    for n in 0..bytes.len() {
        assert!(parse(&bytes[..n]).is_err(), "{n}");
    }
}

#[test]
fn hostile_lengths_allocate_nothing() {
    for program in [
        &b"\x8d\xff\xff\xff\xff\xff\xff\xff\xff"[..], // a string of 2^64 - 1 bytes
        b"X\xff\xff\xff\xff",
        b"\x8b\xff\xff\xff\x7f",
        b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7f",
    ] {
        assert!(matches!(parse(program), Err(PickleError::Truncated { .. })), "{program:?}");
    }
}

#[test]
fn repeated_copies_of_a_shared_dict_are_stopped() {
    // d = {1: 1, ...}; OrderedDict(d) again and again: 6 bytes each, a full copy each.
    let mut bytes = b"}q\x00(".to_vec();
    for _ in 0..1000 {
        bytes.extend(b"K\x01K\x01");
    }
    bytes.extend(b"u0ccollections\nOrderedDict\nq\x010");
    for _ in 0..2000 {
        bytes.extend(b"h\x01h\x00\x85R0");
    }
    bytes.extend(b"N.");
    assert!(matches!(parse(&bytes), Err(PickleError::Damaged { .. })));
}

/// A tensor on storage `0` of `elements` f32 with the given one-axis view.
fn tensor_program(elements: i32, offset: i32, size: i64, stride: i64) -> Vec<u8> {
    let mut p = b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuJ".to_vec();
    p.extend(elements.to_le_bytes());
    p.extend(b"tQJ");
    p.extend(offset.to_le_bytes());
    for v in [size, stride] {
        p.extend(b"\x8a\x08");
        p.extend(v.to_le_bytes());
        p.push(0x85);
    }
    p.extend(b"\x89NtR.");
    p
}

#[test]
fn tensors_must_stay_inside_their_storage() {
    let ok = parse(&tensor_program(6, 2, 4, 1)).unwrap();
    let Node::Tensor(t) = ok.root() else { panic!("not a tensor") };
    assert_eq!((t.offset, t.shape.as_slice(), t.strides.as_slice()), (2, &[4][..], &[1][..]));
    for (elements, offset, size, stride) in [
        (6, 3, 4, 1),
        (6, -1, 2, 1),
        (6, 0, -2, 1),
        (1, 0, 1 << 40, 0),
        (6, 0, i64::MAX, i64::MAX),
        (-1, 0, 1, 1),
        (0, 0, 1, 1),
    ] {
        assert!(parse(&tensor_program(elements, offset, size, stride)).is_err(), "{elements} {offset} {size} {stride}");
    }
}

proptest! {
    #[test]
    fn never_panics_on_noise(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = parse(&bytes);
    }

    #[test]
    fn never_panics_on_damaged_programs(at in 0usize..200, with in any::<u8>(), cut in 0usize..200) {
        let mut bytes = tensor_program(6, 2, 4, 1);
        let n = bytes.len();
        bytes[at % n] = with;
        bytes.truncate(cut.max(n / 2));
        let _ = parse(&bytes);
    }

    #[test]
    fn never_panics_on_random_opcodes(ops in proptest::collection::vec(
        proptest::sample::select(b"()tlde]}NRbsuae012QK\x85\x86\x87\x88\x94\x8f\x90\x91q\x00h\x00".to_vec()), 0..120)) {
        let _ = parse(&ops);
    }
}

#[test]
fn records_keep_names_and_states_and_call_nothing() {
    // pickle.dumps of {"label": 1, "band": geobench.dataset.Sentinel2()} with a state, protocol 4, written out by hand.
    let program = b"\x80\x04}(\x8c\x05labelK\x01\x8c\x04band\x8c\x01m\x8c\x01C\x93)\x81}\x8c\x04name\x8c\x03B02sbu.";
    let pickle = parse_records(program).unwrap();
    assert_eq!(pickle.get(pickle.root(), "label"), Some(&Node::Int(1)));
    let band = pickle.get(pickle.root(), "band").unwrap();
    assert_eq!(pickle.class_of(band), Some("m.C"));
    assert_eq!(pickle.get(pickle.state_of(band).unwrap(), "name"), Some(&Node::Str("B02".into())));
    assert!(matches!(parse(program), Err(PickleError::ForbiddenGlobal { name }) if name == "m.C"));
    // A call of os.system is a record like any other.
    let harmless = parse_records(SYSTEM).unwrap();
    assert_eq!(harmless.class_of(harmless.root()), Some("posix.system"));
}

proptest! {
    #[test]
    fn any_bytes_as_records_are_parsed_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse_records(&bytes);
    }
}

//! What must not compile does not, and the compiler says why.

#[test]
fn what_breaks_a_promise_does_not_compile() {
    trybuild::TestCases::new().compile_fail("tests/compile_fail/*.rs");
}

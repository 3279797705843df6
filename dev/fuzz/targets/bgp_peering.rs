#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| herald_fuzz::bgp_peering(bytes));

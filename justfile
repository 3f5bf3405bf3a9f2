# Everything that must hold.
check:
    ./check

# A backplane on this machine.
up:
    cargo run --release -- up

# The bars of docs/benchmarks.md as ratios of one run; NAMES picks some, --quick is short.
bench *NAMES:
    cargo bench --bench ratios -- {{NAMES}}

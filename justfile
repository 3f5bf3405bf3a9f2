# Everything that must hold.
check:
    ./check

# A backplane on this machine.
up:
    cargo run --release -- up

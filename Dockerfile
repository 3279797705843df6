# Both programs, static, and nothing else; the chart tells which one to run.
FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
# --target keeps the flag from procedural macros, which cannot be static.
RUN RUSTFLAGS="-C target-feature=+crt-static" cargo build --release --locked \
        --target "$(rustc -vV | sed -n 's/^host: //p')" -p herald-controller -p herald-speaker \
    && mkdir /image && cp target/*/release/herald-controller target/*/release/herald-speaker /image/

FROM scratch
COPY --from=build /image/ /
CMD ["/herald-controller"]

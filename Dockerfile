# Both programs, static, and nothing else; the chart tells which one to run.
FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
RUN image/programs /image

FROM scratch
COPY --from=build /image/ /
CMD ["/herald-controller"]

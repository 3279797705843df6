# Contains only the two static programs; the chart selects which one runs.
FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
RUN image/programs /image

FROM scratch
COPY --from=build /image/ /
CMD ["/herald-controller"]

# Contains only the two static programs; the chart selects which one runs.
FROM rust:1.95-bookworm@sha256:6258907abe69656e41cd992e0b705cdcfabcbbe3db374f92ed2d47121282d4a1 AS build
WORKDIR /src
COPY . .
RUN image/programs /image

FROM scratch
COPY --from=build /image/ /
CMD ["/herald-controller"]

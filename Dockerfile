# portbind-csi, one static binary, for any architecture: docker buildx build --platform linux/amd64,linux/arm64 .
# The node plugin needs nothing else from its image: it runs the host's own programs in the host's mount namespace (--host-mounts).
# The controller plugin runs as the unprivileged user below. The compiler always runs natively.
FROM --platform=$BUILDPLATFORM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY cmd ./cmd
COPY pkg ./pkg
ARG VERSION=unknown TARGETOS TARGETARCH
RUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH go build -trimpath -buildvcs=false \
    -ldflags "-s -w -X main.version=${VERSION}" -o /portbind-csi ./cmd/portbind-csi

FROM scratch
ARG VERSION=unknown
LABEL org.opencontainers.image.title="portbind-csi" \
      org.opencontainers.image.description="CSI driver for multipath iSCSI bound to named interfaces" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}"
COPY --from=build /portbind-csi /portbind-csi
COPY LICENSE /LICENSE
USER 65532:65532
ENTRYPOINT ["/portbind-csi"]

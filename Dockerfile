# portbind-csi, one static binary. The node plugin needs nothing else from its image: it runs the host's own programs in the host's
# mount namespace (hostPID, privileged). The controller plugin runs as the unprivileged user below.
FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY cmd ./cmd
COPY pkg ./pkg
ARG VERSION=unknown
RUN CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags "-s -w -X main.version=${VERSION}" -o /portbind-csi ./cmd/portbind-csi

FROM scratch
COPY --from=build /portbind-csi /portbind-csi
COPY LICENSE /LICENSE
USER 65532:65532
ENTRYPOINT ["/portbind-csi"]

// livenessprobe stands in for the official one in the lab: same flags, /healthz answers for the driver's Probe. The chart names
// the official image.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

func main() {
	csiAddress := flag.String("csi-address", "/run/csi/socket", "socket of the driver")
	timeout := flag.Duration("probe-timeout", time.Second, "how long one probe may take")
	port := flag.Int("health-port", 9808, "port of /healthz, when http-endpoint is empty")
	endpoint := flag.String("http-endpoint", "", "address of /healthz")
	flag.String("metrics-address", "", "accepted, not served")
	flag.Int("v", 0, "accepted")
	flag.Parse()
	if *endpoint == "" {
		*endpoint = ":" + strconv.Itoa(*port)
	}
	address := "unix://" + strings.TrimPrefix(*csiAddress, "unix://")
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		log.Fatal(err)
	}
	http.Handle("/healthz", healthz(csi.NewIdentityClient(conn), *timeout))
	server := http.Server{Addr: *endpoint, ReadHeaderTimeout: *timeout}
	log.Fatal(server.ListenAndServe())
}

func healthz(driver csi.IdentityClient, timeout time.Duration) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), timeout)
		defer cancel()
		answer, err := driver.Probe(ctx, &csi.ProbeRequest{})
		switch {
		case err != nil:
			http.Error(w, err.Error(), http.StatusInternalServerError)
		case answer.GetReady() != nil && !answer.GetReady().GetValue():
			http.Error(w, "driver responded but is not ready", http.StatusInternalServerError)
		default:
			fmt.Fprint(w, "ok")
		}
	}
}

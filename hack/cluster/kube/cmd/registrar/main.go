// registrar stands in for csi-node-driver-registrar in the lab: same flags, same sockets, nothing else. The chart names the
// official image.
package main

import (
	"context"
	"flag"
	"log"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	registration "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

type plugin struct {
	registration.UnimplementedRegistrationServer
	name, endpoint string
}

// GetInfo tells kubelet which driver listens where.
func (p plugin) GetInfo(context.Context, *registration.InfoRequest) (*registration.PluginInfo, error) {
	return &registration.PluginInfo{
		Type: registration.CSIPlugin, Name: p.name, Endpoint: p.endpoint, SupportedVersions: []string{"1.0.0"},
	}, nil
}

// NotifyRegistrationStatus ends the program when kubelet refuses, so that it is started and tried again.
func (p plugin) NotifyRegistrationStatus(
	_ context.Context, s *registration.RegistrationStatus,
) (*registration.RegistrationStatusResponse, error) {
	if !s.PluginRegistered {
		log.Fatalf("kubelet refused the registration: %s", s.Error)
	}
	log.Print("registered with kubelet")
	return &registration.RegistrationStatusResponse{}, nil
}

func main() {
	csiAddress := flag.String("csi-address", "/run/csi/socket", "socket of the driver, as this container sees it")
	kubeletPath := flag.String("kubelet-registration-path", "", "socket of the driver, as the host sees it")
	registry := flag.String("plugin-registration-path", "/registration", "directory of kubelet's registration sockets")
	timeout := flag.Duration("timeout", time.Minute, "how long to wait for the driver")
	flag.Duration("connection-timeout", 0, "ignored, as by the official one")
	flag.String("http-endpoint", "", "accepted, not served")
	flag.Int("v", 0, "accepted")
	flag.Parse()
	name, err := driverName(*csiAddress, *timeout)
	if err != nil {
		log.Fatalf("asking the driver for its name: %v", err)
	}
	log.Fatal(serve(plugin{name: name, endpoint: *kubeletPath}, *registry))
}

// driverName asks the driver, waiting until it listens.
func driverName(address string, timeout time.Duration) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	conn, err := grpc.NewClient("unix://"+address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return "", err
	}
	defer conn.Close()
	info, err := csi.NewIdentityClient(conn).GetPluginInfo(ctx, &csi.GetPluginInfoRequest{}, grpc.WaitForReady(true))
	return info.GetName(), err
}

func serve(p plugin, registry string) error {
	socket := filepath.Join(registry, p.name+"-reg.sock")
	if err := os.Remove(socket); err != nil && !os.IsNotExist(err) {
		return err
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	s := grpc.NewServer()
	registration.RegisterRegistrationServer(s, p)
	return s.Serve(l)
}

package plane

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/portbind/portbind/hack/cluster/progress"
)

// startLimit is how long one of the control plane's programs may take to start, on a machine that is busy with other things.
const startLimit = 5 * time.Minute

// ready waits until a URL answers well, as an administrator. It gives up when a program of the control plane ends.
func (p *Plane) ready(ctx context.Context, what, url string) error {
	client, err := p.client()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	return p.log.Step(what+" ready", func() error {
		ctx, giveUp := context.WithCancelCause(ctx)
		defer giveUp(nil)
		go func() {
			select {
			case err := <-p.ended:
				p.ended <- err // for whoever watches later
				giveUp(err)
			case <-ctx.Done():
			}
		}()
		return progress.Await(ctx, func(ctx context.Context) error { return get(ctx, client, url) })
	})
}

// client does not verify the servers: controller manager and scheduler sign their certificates themselves.
func (p *Plane) client() (*http.Client, error) {
	pair, err := tls.LoadX509KeyPair(p.l.PKI("admin.crt"), p.l.PKI("admin.key"))
	if err != nil {
		return nil, fmt.Errorf("administrator's certificate: %w", err)
	}
	config := &tls.Config{Certificates: []tls.Certificate{pair}, InsecureSkipVerify: true}
	return &http.Client{Transport: &http.Transport{TLSClientConfig: config}, Timeout: 5 * time.Second}, nil
}

func get(ctx context.Context, client *http.Client, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", resp.Status, body)
	}
	return nil
}

package doctor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/mdlayher/arp"
	"github.com/mdlayher/ethernet"

	"github.com/portbind/portbind/pkg/binding"
	"github.com/portbind/portbind/pkg/nodeview"
)

const (
	// arpTime is how long others may take to say that they have an address, arpTries how often they are asked in it: RFC 5227 asks three
	// times.
	arpTime  = 900 * time.Millisecond
	arpTries = 3
	macBytes = 6
)

// Duplicate is an address of an interface that another machine has as well.
type Duplicate struct {
	Interface, NIC string
	Addr           netip.Addr
	// MAC is the other machine's.
	MAC string
}

// findDuplicates asks on each NIC with a link whether somebody else has its IPv4 addresses. Of IPv6 ones the kernel does so itself.
func findDuplicates(ctx context.Context, s nodeview.Snapshot) ([]Duplicate, error) {
	ours, err := macs()
	if err != nil {
		return nil, err
	}
	var (
		all   sync.WaitGroup
		mu    sync.Mutex
		found []Duplicate
		errs  []error
	)
	for _, i := range s.Interfaces.Interfaces {
		for _, prefix := range i.Addrs {
			if !i.Up || !prefix.Addr().Is4() {
				continue
			}
			all.Go(func() {
				mac, err := otherOwner(ctx, i, prefix.Addr(), ours)
				mu.Lock()
				defer mu.Unlock()
				if mac != "" {
					found = append(found, Duplicate{Interface: i.Name, NIC: i.NIC, Addr: prefix.Addr(), MAC: mac})
				}
				errs = append(errs, err)
			})
		}
	}
	all.Wait()
	return found, errors.Join(errs...)
}

// macs are this machine's own: a NIC answers for the address of another one in the same subnet (ARP flux).
func macs() ([]string, error) {
	nics, err := net.Interfaces()
	var all []string
	for _, n := range nics {
		all = append(all, n.HardwareAddr.String())
	}
	return all, err
}

// otherOwner sends ARP probes for an address of the NIC (RFC 5227, section 2.1.1) and gives the MAC of whoever else claims it.
func otherOwner(ctx context.Context, i binding.Interface, addr netip.Addr, ours []string) (string, error) {
	nic, err := net.InterfaceByName(i.NIC)
	if err != nil || len(nic.HardwareAddr) != macBytes {
		return "", nil // it has just vanished, which others tell; or there is no ARP on it
	}
	client, err := arp.Dial(nic)
	if err != nil {
		return "", fmt.Errorf("ARP on %s: %w", i.NIC, err)
	}
	defer func() { _ = client.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = client.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	probe, err := arp.NewPacket(arp.OperationRequest, nic.HardwareAddr, netip.IPv4Unspecified(), make(net.HardwareAddr, macBytes), addr)
	if err != nil {
		return "", fmt.Errorf("ARP on %s: %w", i.NIC, err)
	}
	for range arpTries {
		if err := client.WriteTo(probe, ethernet.Broadcast); err != nil {
			return "", fmt.Errorf("ARP on %s: %w", i.NIC, err)
		}
		if mac := claimed(client, addr, ours, time.Now().Add(arpTime/arpTries)); mac != "" || ctx.Err() != nil {
			return mac, ctx.Err()
		}
	}
	return "", nil
}

// claimed listens until then for another machine that says the address is its own.
func claimed(client *arp.Client, addr netip.Addr, ours []string, until time.Time) string {
	if err := client.SetReadDeadline(until); err != nil {
		return ""
	}
	for {
		p, _, err := client.Read()
		if err != nil {
			return "" // nobody did
		}
		mac := p.SenderHardwareAddr.String()
		if p.SenderIP == addr && !slices.Contains(ours, mac) {
			return mac
		}
	}
}

// checkDuplicates comes before what follows from it: connections that break, portals that do not answer.
func checkDuplicates(f Facts) []Finding {
	var all []Finding
	for _, d := range f.Duplicates {
		all = append(all, Finding{
			Severity: Error, Check: "address", Subject: fmt.Sprintf("%s (%s)", d.Interface, d.NIC),
			Seen: fmt.Sprintf("another machine, with the MAC address %s, has %s too: answers go now to the one and now to the other", d.MAC, d.Addr),
			Fix:  "Give one of the two another address; the switch's table says on which port that MAC address is",
		})
	}
	return all
}

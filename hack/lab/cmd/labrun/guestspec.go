package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// guestsFile, in the package's directory, makes its tests run outside of several guests instead of inside of one.
const guestsFile = "lab.guests"

// guestSpec is one line of the file: NAME [mem=2G] [nics=2] [disk=8G]...
type guestSpec struct {
	name  string
	mem   string
	nics  int
	disks []string
}

type clusterSpec struct {
	separate bool // line "fabric separate": a switch and subnet per storage NIC; default: one for all
	guests   []guestSpec
}

// findGuests reads the file in the working directory; there is none for tests that run in one guest.
func findGuests(cwd, mem string) (clusterSpec, error) {
	f, err := os.Open(filepath.Join(cwd, guestsFile))
	if errors.Is(err, os.ErrNotExist) {
		return clusterSpec{}, nil
	} else if err != nil {
		return clusterSpec{}, fmt.Errorf("guests: %w", err)
	}
	defer f.Close()
	var c clusterSpec
	sc := bufio.NewScanner(f)
	for sc.Scan() {
		line, _, _ := strings.Cut(sc.Text(), "#")
		if err := c.add(strings.Fields(line), mem); err != nil {
			return c, fmt.Errorf("%s: %q: %w", guestsFile, sc.Text(), err)
		}
	}
	return c, sc.Err()
}

var guestName = regexp.MustCompile(`^[a-z][a-z0-9]{0,11}$`)

func (c *clusterSpec) add(words []string, mem string) error {
	switch {
	case len(words) == 0:
		return nil
	case len(words) == 2 && words[0] == "fabric" && (words[1] == "separate" || words[1] == "same"):
		c.separate = words[1] == "separate"
		return nil
	case !guestName.MatchString(words[0]):
		return errors.New("want a name of up to 12 letters and digits")
	}
	g := guestSpec{name: words[0], mem: mem, nics: 2}
	for _, word := range words[1:] {
		if err := g.set(word); err != nil {
			return err
		}
	}
	c.guests = append(c.guests, g)
	return nil
}

func (g *guestSpec) set(word string) error {
	key, value, _ := strings.Cut(word, "=")
	switch key {
	case "mem":
		g.mem = value
	case "disk":
		g.disks = append(g.disks, value)
	case "nics":
		n, err := strconv.Atoi(value)
		if err != nil || n < 1 || n > 8 {
			return errors.New("nics: want 1 to 8")
		}
		g.nics = n
	default:
		return fmt.Errorf("unknown key %q: want mem, nics, disk", key)
	}
	return nil
}

// bytesOf reads a size such as 512M or 8G.
func bytesOf(size string) (int64, error) {
	n, err := strconv.ParseInt(strings.TrimRight(size, "MG"), 10, 64)
	switch {
	case err != nil || n <= 0:
		return 0, fmt.Errorf("size %q: want a number and M or G", size)
	case strings.HasSuffix(size, "G"):
		return n << 30, nil
	case strings.HasSuffix(size, "M"):
		return n << 20, nil
	}
	return 0, fmt.Errorf("size %q: want a number and M or G", size)
}

package view

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"sigs.k8s.io/yaml"
)

// Format is how something is printed.
type Format string

// The formats. Wide is a table with more columns.
const (
	Table Format = "table"
	Wide  Format = "wide"
	JSON  Format = "json"
	YAML  Format = "yaml"
)

// ParseFormat takes one of the given formats.
func ParseFormat(text string, among ...Format) (Format, error) {
	names := make([]string, len(among))
	for i, f := range among {
		if names[i] = string(f); names[i] == text {
			return f, nil
		}
	}
	return "", fmt.Errorf("output format %.32q: want one of %s", text, strings.Join(names, ", "))
}

// Layout is how rows are printed.
type Layout struct {
	Format Format
	// Cluster: rows are of several nodes. Watched: they are looked at again and again, so that rates are known.
	Cluster, Watched bool
}

// Print writes rows.
func Print[R Row](w io.Writer, l Layout, rows []R) error {
	if l.Format == JSON || l.Format == YAML {
		return Marshal(w, l.Format, rows)
	}
	tab := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	var none R
	l.line(tab, none.cells(), func(c cell) string { return c.title })
	for _, row := range rows {
		l.line(tab, row.cells(), func(c cell) string { return c.value })
	}
	return tab.Flush()
}

// Marshal writes a value as JSON or YAML.
func Marshal(w io.Writer, format Format, value any) error {
	text, err := json.MarshalIndent(value, "", "  ")
	if err == nil && format == YAML {
		text, err = yaml.JSONToYAML(text)
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(w, strings.TrimRight(string(text), "\n"))
	return err
}

func (l Layout) line(w io.Writer, cells []cell, text func(cell) string) {
	var fields []string
	for _, c := range cells {
		if l.shows(c.only) {
			fields = append(fields, orDash(text(c)))
		}
	}
	fmt.Fprintln(w, strings.Join(fields, "\t"))
}

func (l Layout) shows(o only) bool {
	switch o {
	case inWide:
		return l.Format == Wide
	case inCluster:
		return l.Cluster
	case whenWatched:
		return l.Watched
	default:
		return true
	}
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

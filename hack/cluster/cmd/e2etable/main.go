// E2etable makes one table in Markdown of the reports of several runs of Kubernetes' end-to-end tests: hack/cluster/e2e-run calls it
// with ginkgo's JSON reports.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"
)

func main() {
	all := results{}
	for _, file := range os.Args[1:] {
		if err := all.read(file); err != nil {
			fmt.Fprintln(os.Stderr, "e2etable:", err)
			os.Exit(1)
		}
	}
	all.print(os.Stdout)
}

// report is what is needed of ginkgo's.
type report struct {
	SpecReports []spec
}

type spec struct {
	ContainerHierarchyTexts []string
	LeafNodeText            string
	LeafNodeType            string
	State                   string
	StartTime               time.Time
	RunTime                 time.Duration
	Failure                 struct{ Message string }
}

// results are the tests by their full names.
type results map[string]spec

// read adds a report. Of a test that ran in several the last run counts, and any run before none.
func (r results) read(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	return r.add(f)
}

func (r results) add(from io.Reader) error {
	var reports []report
	if err := json.NewDecoder(from).Decode(&reports); err != nil {
		return fmt.Errorf("ginkgo's report: %w", err)
	}
	for _, rep := range reports {
		for _, s := range rep.SpecReports {
			if s.LeafNodeType != "It" || !s.external() {
				continue
			}
			if old, ok := r[s.name()]; !ok || s.newer(old) {
				r[s.name()] = s
			}
		}
	}
	return nil
}

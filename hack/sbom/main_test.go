package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The test's own binary is as good as any: what it imports is in its bill.
func TestWrite(t *testing.T) {
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "bill.json")
	if err := write(binary, "v1.2.3", file); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var got bom
	if err := json.Unmarshal(raw, &got); err != nil {
		t.Fatal(err)
	}
	if got.Format != "CycloneDX" || !strings.HasPrefix(got.Metadata.Component.PURL, "pkg:golang/github.com/portbind/portbind@v1.2.3") {
		t.Errorf("bill of %+v", got.Metadata)
	}
	if !slices.ContainsFunc(got.Components, func(c component) bool { return strings.HasPrefix(c.PURL, "pkg:golang/std@1.") }) {
		t.Errorf("no standard library in %+v", got.Components)
	}
	if len(got.Dependencies) != 1 || len(got.Dependencies[0].DependsOn) != len(got.Components) {
		t.Errorf("%d components, dependencies: %+v", len(got.Components), got.Dependencies)
	}
}

// What is no Go binary is said to be none.
func TestWriteOther(t *testing.T) {
	if err := write("main.go", "v1.2.3", filepath.Join(t.TempDir(), "bill.json")); err == nil {
		t.Error("a source file has a bill")
	}
}

package driver

import (
	"os"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/portbind/portbind/pkg/volume"
)

// The examples in deploy/csi are what the programs take.
func TestExamples(t *testing.T) {
	if _, err := LoadControllerConfig("../../deploy/csi/controller.yaml"); err != nil {
		t.Error(err)
	}
	if _, err := LoadNodeConfig("../../deploy/csi/node.yaml"); err != nil {
		t.Error(err)
	}
	data, err := os.ReadFile("../../deploy/csi/storageclass.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var class struct {
		Provisioner string            `json:"provisioner"`
		Parameters  map[string]string `json:"parameters"`
	}
	if err := yaml.Unmarshal(data, &class); err != nil {
		t.Fatal(err)
	}
	if class.Provisioner != Name {
		t.Errorf("provisioner is %q", class.Provisioner)
	}
	if _, err := volume.ParseParameters(class.Parameters); err != nil {
		t.Error(err)
	}
}

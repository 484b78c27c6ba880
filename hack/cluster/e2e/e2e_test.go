// Package e2e is Kubernetes' own end-to-end tests of external storage drivers as one test binary: hack/cluster/e2e-run runs it
// against the cluster in the lab.
package e2e

import (
	"flag"
	"os"
	"testing"

	"k8s.io/kubernetes/test/e2e"
	"k8s.io/kubernetes/test/e2e/framework"
	"k8s.io/kubernetes/test/e2e/framework/config"
	_ "k8s.io/kubernetes/test/e2e/framework/debug/init" // events and pods of a failed test's namespace
	_ "k8s.io/kubernetes/test/e2e/framework/node/init"  // what the nodes had to say
	_ "k8s.io/kubernetes/test/e2e/storage/external"     // what -storage.testdriver needs
)

func TestMain(m *testing.M) {
	config.CopyFlags(config.Flags, flag.CommandLine)
	framework.RegisterCommonFlags(flag.CommandLine)
	framework.RegisterClusterFlags(flag.CommandLine)
	flag.Parse()
	framework.AfterReadingAllFlags(&framework.TestContext)
	os.Exit(m.Run())
}

func TestE2E(t *testing.T) { e2e.RunE2ETests(t) }

// labkube is etcd, Kubernetes' own programs and kubectl in one executable, so that linking is paid for once. It is what its
// name says (kube-apiserver, kubelet, ...), or what its first argument says.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	_ "time/tzdata"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	"k8s.io/kubectl/pkg/cmd"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	kcm "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

func main() {
	if program(os.Args[0]) == nil && len(os.Args) > 1 {
		os.Args = os.Args[1:]
	}
	run := program(os.Args[0])
	if run == nil {
		fmt.Fprintln(os.Stderr, "labkube: call me etcd, kube-apiserver, kube-controller-manager, kube-scheduler, kubelet or kubectl")
		os.Exit(2)
	}
	run()
}

// program is what the name stands for, nil when it is none of ours.
func program(name string) func() {
	switch filepath.Base(name) {
	case "etcd":
		return func() { etcdmain.Main(os.Args) }
	case "kube-apiserver":
		return component(apiserver.NewAPIServerCommand)
	case "kube-controller-manager":
		return component(kcm.NewControllerManagerCommand)
	case "kube-scheduler":
		return component(func() *cobra.Command { return scheduler.NewSchedulerCommand() })
	case "kubelet":
		return component(func() *cobra.Command { return kubelet.NewKubeletCommand(context.Background()) })
	case "kubectl":
		return component(cmd.NewDefaultKubectlCommand)
	}
	return nil
}

func component(command func() *cobra.Command) func() {
	return func() { os.Exit(cli.Run(command())) }
}

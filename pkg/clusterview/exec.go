package clusterview

import (
	"context"
	"errors"
	"fmt"
	"io"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/util/exec"
	"k8s.io/streaming/pkg/httpstream"
)

// StatusError says that a command on a node ran, and ended with a status other than 0.
type StatusError int

// Error implements error.
func (s StatusError) Error() string { return fmt.Sprintf("exit status %d", int(s)) }

// Executor runs a command in a pod's container of the driver. A command that fails is a StatusError.
type Executor interface {
	Exec(ctx context.Context, pod *corev1.Pod, command []string, out, errOut io.Writer) error
}

// Remote runs commands as kubectl exec does: over a websocket, or over SPDY where something in between does not let that through.
type Remote struct {
	Config *rest.Config
	Client kubernetes.Interface
}

// Exec implements Executor.
func (r Remote) Exec(ctx context.Context, pod *corev1.Pod, command []string, out, errOut io.Writer) error {
	executor, err := r.executor(pod, command)
	if err != nil {
		return err
	}
	err = executor.StreamWithContext(ctx, remotecommand.StreamOptions{Stdout: out, Stderr: errOut})
	if status, ok := errors.AsType[exec.CodeExitError](err); ok {
		return StatusError(status.Code)
	}
	return err
}

func (r Remote) executor(pod *corev1.Pod, command []string) (remotecommand.Executor, error) {
	url := r.Client.CoreV1().RESTClient().Post().Namespace(pod.Namespace).Resource("pods").Name(pod.Name).SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{Container: Container, Command: command, Stdout: true, Stderr: true}, scheme.ParameterCodec).URL()
	spdy, err := remotecommand.NewSPDYExecutor(r.Config, "POST", url)
	if err != nil {
		return nil, err
	}
	websocket, err := remotecommand.NewWebSocketExecutor(r.Config, "GET", url.String())
	if err != nil {
		return nil, err
	}
	return remotecommand.NewFallbackExecutor(websocket, spdy, func(err error) bool {
		return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err)
	})
}

package clients

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/httpstream"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/transport/spdy"
	utilexec "k8s.io/client-go/util/exec"
)

// executors are one for each transport, and the one that falls back from the first to the second.
func executors(t *testing.T, address *url.URL) map[string]remotecommand.Executor {
	t.Helper()
	cfg := config(t)
	sockets, err := remotecommand.NewWebSocketExecutor(cfg, http.MethodGet, address.String())
	if err != nil {
		t.Fatal(err)
	}
	frames, err := remotecommand.NewSPDYExecutor(cfg, http.MethodPost, address)
	if err != nil {
		t.Fatal(err)
	}
	both, err := remotecommand.NewFallbackExecutor(sockets, frames, httpstream.IsUpgradeFailure)
	if err != nil {
		t.Fatal(err)
	}
	return map[string]remotecommand.Executor{"WebSocket": sockets, "SPDY": frames, "fallback": both}
}

// address is the URL of an exec of that command in the pod web.
func address(t *testing.T, ns string, options *corev1.PodExecOptions) *url.URL {
	t.Helper()
	_, set := clients(t, config(t))
	return set.CoreV1().RESTClient().Post().Resource("pods").Namespace(ns).Name("web").
		SubResource("exec").VersionedParams(options, scheme.ParameterCodec).URL()
}

// Output, errors, input to its end, and exit codes, over each transport.
func TestExec(t *testing.T) {
	ctx, _ := clients(t, config(t))
	ns := namespace(t)
	pod(t, ns)
	said := &corev1.PodExecOptions{
		Command: []string{"sh", "-c", "cat; echo oops >&2; exit 7"}, Stdin: true, Stdout: true, Stderr: true,
	}
	for name, executor := range executors(t, address(t, ns, said)) {
		var out, wrong bytes.Buffer
		err := executor.StreamWithContext(ctx, remotecommand.StreamOptions{
			Stdin: strings.NewReader("given\n"), Stdout: &out, Stderr: &wrong,
		})
		var code utilexec.CodeExitError
		if !errors.As(err, &code) || code.Code != 7 {
			t.Errorf("%s: ended with %v", name, err)
		}
		if out.String() != "given\n" || wrong.String() != "oops\n" {
			t.Errorf("%s: %q %q", name, out.String(), wrong.String())
		}
	}
}

// A megabyte goes in and comes out as it was.
func TestExecCarriesMuch(t *testing.T) {
	ctx, _ := clients(t, config(t))
	ns := namespace(t)
	pod(t, ns)
	much := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	options := &corev1.PodExecOptions{Command: []string{"cat"}, Stdin: true, Stdout: true}
	for name, executor := range executors(t, address(t, ns, options)) {
		var out bytes.Buffer
		err := executor.StreamWithContext(ctx, remotecommand.StreamOptions{Stdin: bytes.NewReader(much), Stdout: &out})
		if err != nil || !bytes.Equal(out.Bytes(), much) {
			t.Errorf("%s: %d of %d bytes, %v", name, out.Len(), len(much), err)
		}
	}
}

// size tells a terminal's size once.
type size struct{ told bool }

func (s *size) Next() *remotecommand.TerminalSize {
	if s.told {
		return nil
	}
	s.told = true
	return &remotecommand.TerminalSize{Width: 101, Height: 33}
}

// With a terminal both outputs are one, and its size arrives.
func TestExecWithATerminal(t *testing.T) {
	ctx, _ := clients(t, config(t))
	ns := namespace(t)
	pod(t, ns)
	options := &corev1.PodExecOptions{
		Command: []string{"sh", "-c", "echo out; echo err >&2"}, Stdin: true, Stdout: true, TTY: true,
	}
	for name, executor := range executors(t, address(t, ns, options)) {
		var out bytes.Buffer
		err := executor.StreamWithContext(ctx, remotecommand.StreamOptions{
			Stdin: strings.NewReader(""), Stdout: &out, Tty: true, TerminalSizeQueue: &size{},
		})
		if err != nil || !strings.Contains(out.String(), "out") || !strings.Contains(out.String(), "err") {
			t.Errorf("%s: %q %v", name, out.String(), err)
		}
	}
}

// Connections are forwarded to a pod's port, over SPDY and tunnelled in a WebSocket.
func TestPortForward(t *testing.T) {
	cfg := config(t)
	_, set := clients(t, cfg)
	ns := namespace(t)
	pod(t, ns)
	where := set.CoreV1().RESTClient().Post().Resource("pods").Namespace(ns).Name("web").SubResource("portforward").URL()
	transport, upgrader, err := spdy.RoundTripperFor(cfg)
	if err != nil {
		t.Fatal(err)
	}
	frames := spdy.NewDialer(upgrader, &http.Client{Transport: transport}, http.MethodPost, where)
	sockets, err := portforward.NewSPDYOverWebsocketDialer(where, cfg)
	if err != nil {
		t.Fatal(err)
	}
	for name, dialer := range map[string]httpstream.Dialer{"SPDY": frames, "WebSocket": sockets} {
		stop, ready := make(chan struct{}), make(chan struct{})
		forwarder, err := portforward.New(dialer, []string{"0:8080"}, stop, ready, io.Discard, io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- forwarder.ForwardPorts() }()
		select {
		case <-ready:
		case err := <-ended:
			t.Errorf("%s: %v", name, err)
			continue
		}
		ports, _ := forwarder.GetPorts()
		for range 3 {
			answer, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/hostname", ports[0].Local))
			if err != nil {
				t.Errorf("%s: %v", name, err)
				break
			}
			body, _ := io.ReadAll(answer.Body)
			answer.Body.Close()
			if string(body) != "web" {
				t.Errorf("%s: %q", name, body)
			}
		}
		close(stop)
		if err := <-ended; err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Logs are streamed while they grow; closing the stream ends it.
func TestLogsAreFollowed(t *testing.T) {
	ctx, set := clients(t, config(t))
	ns := namespace(t)
	pod(t, ns)
	following, stop := context.WithCancel(ctx)
	defer stop()
	stream, err := set.CoreV1().Pods(ns).GetLogs("web", &corev1.PodLogOptions{Follow: true}).Stream(following)
	if err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(stream).ReadString('\n')
	if err != nil || line == "" {
		t.Errorf("%q %v", line, err)
	}
	stream.Close()
}

// A pod is reached through the API server's proxy.
func TestProxy(t *testing.T) {
	ctx, set := clients(t, config(t))
	ns := namespace(t)
	pod(t, ns)
	body, err := set.CoreV1().Pods(ns).ProxyGet("http", "web", "8080", "hostname", nil).DoRaw(ctx)
	if err != nil || string(body) != "web" {
		t.Errorf("%q %v", body, err)
	}
}

// Package clients holds client-go as operators use it against a running cluster (KUBECONFIG).
// test_client_go.py builds it once and runs it; each Test is a story that stands in its report.
package clients

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

const image = "registry.k8s.io/e2e-test-images/agnhost:2.53"

var count atomic.Int64

// config is that of KUBECONFIG, without a limit of its own on requests.
func config(t *testing.T) *rest.Config {
	t.Helper()
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	made, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, nil).ClientConfig()
	if err != nil {
		t.Fatal(err)
	}
	made.QPS = -1
	return made
}

// clients are a typed clientset and the context of one story.
func clients(t *testing.T, cfg *rest.Config) (context.Context, *kubernetes.Clientset) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	set, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return ctx, set
}

// namespace makes a namespace for one story, with its service account.
func namespace(t *testing.T) string {
	t.Helper()
	ctx, set := clients(t, config(t))
	name := fmt.Sprintf("go-%d-%d", time.Now().UnixNano(), count.Add(1))
	object := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if _, err := set.CoreV1().Namespaces().Create(ctx, object, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = set.CoreV1().Namespaces().Delete(context.Background(), name, metav1.DeleteOptions{})
	})
	until(t, "the service account", func() bool {
		_, err := set.CoreV1().ServiceAccounts(name).Get(ctx, "default", metav1.GetOptions{})
		return err == nil
	})
	return name
}

// pod starts a pod named web that serves HTTP on 8080, and waits until it is ready.
func pod(t *testing.T, ns string) {
	t.Helper()
	ctx, set := clients(t, config(t))
	object := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Labels: map[string]string{"app": "web"}},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{
			Name: "c", Image: image, Args: []string{"netexec"},
		}}},
	}
	if _, err := set.CoreV1().Pods(ns).Create(ctx, object, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	until(t, "a ready pod", func() bool {
		found, err := set.CoreV1().Pods(ns).Get(ctx, "web", metav1.GetOptions{})
		if err != nil {
			return false
		}
		for _, condition := range found.Status.Conditions {
			if condition.Type == corev1.PodReady && condition.Status == corev1.ConditionTrue {
				return true
			}
		}
		return false
	})
}

func configMap(name string, data map[string]string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: data}
}

// until asks until it is so; for what other processes do.
func until(t *testing.T, what string, met func() bool) {
	t.Helper()
	err := wait.PollUntilContextTimeout(context.Background(), 20*time.Millisecond, 30*time.Second, true,
		func(context.Context) (bool, error) { return met(), nil })
	if err != nil {
		t.Fatalf("not within 30s: %s", what)
	}
}

// heard records the requests that a client sends and the content types that it gets.
type heard struct {
	next     http.RoundTripper
	mutex    sync.Mutex
	requests []string
	types    []string
}

func (h *heard) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := h.next.RoundTrip(request)
	h.mutex.Lock()
	defer h.mutex.Unlock()
	h.requests = append(h.requests, request.Method+" "+request.URL.RequestURI())
	if err == nil {
		h.types = append(h.types, response.Header.Get("Content-Type"))
	}
	return response, err
}

// with counts the requests so far that hold all the words.
func (h *heard) with(words ...string) int {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	found := 0
	for _, line := range h.requests {
		all := true
		for _, word := range words {
			all = all && strings.Contains(line, word)
		}
		if all {
			found++
		}
	}
	return found
}

// listening is a config whose requests are recorded.
func listening(t *testing.T) (*rest.Config, *heard) {
	t.Helper()
	cfg, ears := config(t), &heard{}
	cfg.Wrap(func(next http.RoundTripper) http.RoundTripper {
		ears.next = next
		return ears
	})
	return cfg, ears
}

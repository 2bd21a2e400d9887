package clients

import (
	"context"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	watchtools "k8s.io/client-go/tools/watch"
)

// Informers fill their caches by a streamed list (WatchList), never by LIST, and see what happens.
func TestInformersOverWatchList(t *testing.T) {
	cfg, ears := listening(t)
	ctx, set := clients(t, cfg)
	ns := namespace(t)
	pod(t, ns)
	factory := informers.NewSharedInformerFactoryWithOptions(set, 0, informers.WithNamespace(ns))
	pods := factory.Core().V1().Pods()
	services := factory.Core().V1().Services()
	slices := factory.Discovery().V1().EndpointSlices()
	deleted := make(chan string, 10)
	_, err := pods.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		DeleteFunc: func(object any) { deleted <- object.(*corev1.Pod).Name },
	})
	if err != nil {
		t.Fatal(err)
	}
	services.Informer()
	slices.Informer()
	factory.Start(ctx.Done())
	for kind, synced := range factory.WaitForCacheSync(ctx.Done()) {
		if !synced {
			t.Fatalf("%v never synced", kind)
		}
	}
	if _, err := pods.Lister().Pods(ns).Get("web"); err != nil {
		t.Error(err)
	}
	if _, err := set.CoreV1().Services(ns).Create(ctx, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec: corev1.ServiceSpec{
			Selector: map[string]string{"app": "web"},
			Ports:    []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(8080)}},
		},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	until(t, "an endpoint in the cache", func() bool {
		found, err := slices.Lister().EndpointSlices(ns).List(labels.Set{discoveryv1.LabelServiceName: "web"}.AsSelector())
		return err == nil && len(found) == 1 && len(found[0].Endpoints) == 1
	})
	zero := int64(0)
	if err := set.CoreV1().Pods(ns).Delete(ctx, "web", metav1.DeleteOptions{GracePeriodSeconds: &zero}); err != nil {
		t.Fatal(err)
	}
	if name := <-deleted; name != "web" {
		t.Errorf("%s was deleted", name)
	}
	if ears.with("watch=true", "sendInitialEvents=true") != 3 {
		t.Errorf("asked %v", ears.requests)
	}
	if ears.with("GET", "/pods?limit=") != 0 {
		t.Errorf("fell back to LIST: %v", ears.requests)
	}
}

// Metadata informers get PartialObjectMetadata, as the garbage collector asks for it.
func TestMetadataInformers(t *testing.T) {
	ctx, set := clients(t, config(t))
	ns := namespace(t)
	client, err := metadata.NewForConfig(config(t))
	if err != nil {
		t.Fatal(err)
	}
	factory := metadatainformer.NewFilteredSharedInformerFactory(client, 0, ns, nil)
	informer := factory.ForResource(schema.GroupVersionResource{Version: "v1", Resource: "configmaps"})
	informer.Informer()
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	object := configMap("c", map[string]string{"big": "data"})
	object.Labels = map[string]string{"a": "b"}
	if _, err := set.CoreV1().ConfigMaps(ns).Create(ctx, object, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	until(t, "the metadata in the cache", func() bool {
		found, err := informer.Lister().ByNamespace(ns).Get("c")
		return err == nil && found.(*metav1.PartialObjectMetadata).Labels["a"] == "b"
	})
}

// A watch that ends is taken up where it ended: no event is lost or told twice.
func TestRetryWatcherResumes(t *testing.T) {
	ctx, set := clients(t, config(t))
	ns := namespace(t)
	maps := set.CoreV1().ConfigMaps(ns)
	list, err := maps.List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	second := int64(1)
	from := &cache.ListWatch{WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
		options.TimeoutSeconds = &second
		return maps.Watch(ctx, options)
	}}
	watcher, err := watchtools.NewRetryWatcherWithContext(ctx, list.ResourceVersion, from)
	if err != nil {
		t.Fatal(err)
	}
	defer watcher.Stop()
	go func() {
		for n := range 15 {
			if _, err := maps.Create(ctx, configMap(fmt.Sprintf("c%02d", n), nil), metav1.CreateOptions{}); err != nil {
				t.Error(err)
			}
			time.Sleep(150 * time.Millisecond)
		}
	}()
	for n := 0; n < 15; {
		event := <-watcher.ResultChan()
		object, ok := event.Object.(*corev1.ConfigMap)
		if !ok {
			t.Fatalf("told %v", event)
		}
		if object.Name == "kube-root-ca.crt" {
			continue
		}
		if wanted := fmt.Sprintf("c%02d", n); object.Name != wanted {
			t.Fatalf("told %s, not %s", object.Name, wanted)
		}
		n++
	}
}

// Of two candidates one leads; when it lets go, the other does. Lease times have microseconds.
func TestLeaderElection(t *testing.T) {
	ctx, set := clients(t, config(t))
	ns := namespace(t)
	led := make(chan string, 2)
	campaign := func(ctx context.Context, who string) {
		leaderelection.RunOrDie(ctx, leaderelection.LeaderElectionConfig{
			Lock: &resourcelock.LeaseLock{
				LeaseMeta:  metav1.ObjectMeta{Name: "lead", Namespace: ns},
				Client:     set.CoordinationV1(),
				LockConfig: resourcelock.ResourceLockConfig{Identity: who},
			},
			ReleaseOnCancel: true,
			LeaseDuration:   15 * time.Second, RenewDeadline: 10 * time.Second, RetryPeriod: time.Second,
			Callbacks: leaderelection.LeaderCallbacks{
				OnStartedLeading: func(context.Context) { led <- who },
				OnStoppedLeading: func() {},
			},
		})
	}
	first, resign := context.WithCancel(ctx)
	go campaign(first, "first")
	if who := <-led; who != "first" {
		t.Fatalf("%s leads", who)
	}
	go campaign(ctx, "second")
	resign()
	if who := <-led; who != "second" {
		t.Fatalf("%s leads", who)
	}
	lease, err := set.CoordinationV1().Leases(ns).Get(ctx, "lead", metav1.GetOptions{})
	if err != nil || *lease.Spec.HolderIdentity != "second" || *lease.Spec.LeaseTransitions < 1 {
		t.Errorf("%+v %v", lease, err)
	}
	if _, err := set.CoordinationV1().Leases(ns).Patch(ctx, "lead", types.MergePatchType, []byte(`{"spec":{"renewTime":"yesterday"}}`), metav1.PatchOptions{}); err == nil {
		t.Error("a time that is none was taken")
	}
}

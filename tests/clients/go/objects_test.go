package clients

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	applyapps "k8s.io/client-go/applyconfigurations/apps/v1"
	applycore "k8s.io/client-go/applyconfigurations/core/v1"
	applymeta "k8s.io/client-go/applyconfigurations/meta/v1"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/pager"
	"k8s.io/client-go/util/retry"
)

func deployment(name string) *appsv1.Deployment {
	labels := map[string]string{"app": name}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "nginx"}}},
			},
		},
	}
}

// A client that speaks only protobuf is answered in it: objects, lists, watches and errors.
func TestProtobufInBothDirections(t *testing.T) {
	cfg, ears := listening(t)
	cfg.ContentType = runtime.ContentTypeProtobuf
	cfg.AcceptContentTypes = runtime.ContentTypeProtobuf
	ctx, set := clients(t, cfg)
	ns := namespace(t)
	made, err := set.AppsV1().Deployments(ns).Create(ctx, deployment("web"), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if *made.Spec.Replicas != 1 || made.Spec.Template.Spec.RestartPolicy != corev1.RestartPolicyAlways {
		t.Errorf("not defaulted: %+v", made.Spec)
	}
	watching, err := set.CoreV1().Pods(ns).Watch(ctx, metav1.ListOptions{LabelSelector: "app=web"})
	if err != nil {
		t.Fatal(err)
	}
	event := <-watching.ResultChan()
	watching.Stop()
	if seen, ok := event.Object.(*corev1.Pod); !ok || seen.Labels["app"] != "web" {
		t.Errorf("the watch told %v", event)
	}
	list, err := set.AppsV1().ReplicaSets(ns).List(ctx, metav1.ListOptions{})
	if err != nil || len(list.Items) != 1 {
		t.Errorf("%v %v", list, err)
	}
	if _, err := set.CoreV1().Pods(ns).Get(ctx, "nosuch", metav1.GetOptions{}); !errors.IsNotFound(err) {
		t.Errorf("not NotFound: %v", err)
	}
	for _, kind := range ears.types {
		if !strings.HasPrefix(kind, runtime.ContentTypeProtobuf) {
			t.Errorf("answered as %s: %v", kind, ears.requests)
		}
	}
}

// Errors are the typed ones, by their reasons.
func TestErrorsHaveReasons(t *testing.T) {
	ctx, set := clients(t, config(t))
	ns := namespace(t)
	maps := set.CoreV1().ConfigMaps(ns)
	made, err := maps.Create(ctx, configMap("c", nil), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := maps.Create(ctx, configMap("c", nil), metav1.CreateOptions{}); !errors.IsAlreadyExists(err) {
		t.Errorf("not AlreadyExists: %v", err)
	}
	old := made.DeepCopy()
	made.Data = map[string]string{"a": "b"}
	if _, err := maps.Update(ctx, made, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	old.Data = map[string]string{"a": "c"}
	if _, err := maps.Update(ctx, old, metav1.UpdateOptions{}); !errors.IsConflict(err) {
		t.Errorf("not Conflict: %v", err)
	}
	if _, err := maps.Create(ctx, configMap("Bad_Name", nil), metav1.CreateOptions{}); !errors.IsInvalid(err) {
		t.Errorf("not Invalid: %v", err)
	}
	uid := types.UID("other")
	options := metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}}
	if err := maps.Delete(ctx, "c", options); !errors.IsConflict(err) {
		t.Errorf("not Conflict: %v", err)
	}
	options = metav1.DeleteOptions{DryRun: []string{metav1.DryRunAll}}
	if err := maps.Delete(ctx, "c", options); err != nil {
		t.Error(err)
	}
	if _, err := maps.Get(ctx, "c", metav1.GetOptions{}); err != nil {
		t.Errorf("a dry run deleted it: %v", err)
	}
}

// Ten writers count to a hundred, each again when another was quicker.
func TestRetryOnConflict(t *testing.T) {
	ctx, set := clients(t, config(t))
	ns := namespace(t)
	maps := set.CoreV1().ConfigMaps(ns)
	if _, err := maps.Create(ctx, configMap("n", map[string]string{"n": "0"}), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	backoff := retry.DefaultRetry
	backoff.Steps = 200
	var group sync.WaitGroup
	for range 10 {
		group.Go(func() {
			for range 10 {
				err := retry.RetryOnConflict(backoff, func() error {
					found, err := maps.Get(ctx, "n", metav1.GetOptions{})
					if err != nil {
						return err
					}
					n, _ := strconv.Atoi(found.Data["n"])
					found.Data["n"] = strconv.Itoa(n + 1)
					_, err = maps.Update(ctx, found, metav1.UpdateOptions{})
					return err
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	if found, _ := maps.Get(ctx, "n", metav1.GetOptions{}); found.Data["n"] != "100" {
		t.Errorf("counted to %s", found.Data["n"])
	}
}

// Typed apply configurations own fields, refuse to take them, and take them by force.
func TestServerSideApply(t *testing.T) {
	ctx, set := clients(t, config(t))
	ns := namespace(t)
	web := applyapps.Deployment("web", ns).WithSpec(applyapps.DeploymentSpec().
		WithReplicas(2).
		WithSelector(applymeta.LabelSelector().WithMatchLabels(map[string]string{"app": "web"})).
		WithTemplate(applycore.PodTemplateSpec().
			WithLabels(map[string]string{"app": "web"}).
			WithSpec(applycore.PodSpec().
				WithContainers(applycore.Container().WithName("c").WithImage("nginx")))))
	deployments := set.AppsV1().Deployments(ns)
	made, err := deployments.Apply(ctx, web, metav1.ApplyOptions{FieldManager: "one"})
	if err != nil {
		t.Fatal(err)
	}
	if entry := made.ManagedFields[0]; entry.Manager != "one" || entry.Operation != metav1.ManagedFieldsOperationApply {
		t.Errorf("owned by %+v", made.ManagedFields)
	}
	again, err := deployments.Apply(ctx, web, metav1.ApplyOptions{FieldManager: "one"})
	if err != nil || again.Generation != made.Generation {
		t.Errorf("applied again, generation %d became %d (%v)", made.Generation, again.Generation, err)
	}
	more := applyapps.Deployment("web", ns).WithSpec(applyapps.DeploymentSpec().WithReplicas(3))
	if _, err = deployments.Apply(ctx, more, metav1.ApplyOptions{FieldManager: "two"}); !errors.IsConflict(err) {
		t.Fatalf("not Conflict: %v", err)
	}
	cause := err.(*errors.StatusError).ErrStatus.Details.Causes[0]
	if cause.Type != metav1.CauseTypeFieldManagerConflict || cause.Field != ".spec.replicas" {
		t.Errorf("because of %+v", cause)
	}
	taken, err := deployments.Apply(ctx, more, metav1.ApplyOptions{FieldManager: "two", Force: true})
	if err != nil || *taken.Spec.Replicas != 3 {
		t.Errorf("%v %v", taken, err)
	}
	extracted, err := applyapps.ExtractDeployment(taken, "two")
	if err != nil || *extracted.Spec.Replicas != 3 || extracted.Spec.Template != nil {
		t.Errorf("extracted %+v %v", extracted, err)
	}
}

// The dynamic client needs no types.
func TestDynamicClient(t *testing.T) {
	ctx, _ := clients(t, config(t))
	ns := namespace(t)
	client, err := dynamic.NewForConfig(config(t))
	if err != nil {
		t.Fatal(err)
	}
	maps := client.Resource(schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}).Namespace(ns)
	object := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"generateName": "made-"},
		"data": map[string]any{"a": "1"},
	}}
	made, err := maps.Create(ctx, object, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	patch := []byte(`{"data":{"b":"2"}}`)
	patched, err := maps.Patch(ctx, made.GetName(), types.MergePatchType, patch, metav1.PatchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if data, _, _ := unstructured.NestedStringMap(patched.Object, "data"); data["a"] != "1" || data["b"] != "2" {
		t.Errorf("patched %v", data)
	}
	watching, err := maps.Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + made.GetName()})
	if err != nil {
		t.Fatal(err)
	}
	defer watching.Stop()
	if event := <-watching.ResultChan(); event.Type != watch.Added {
		t.Errorf("told %v", event)
	}
	if err := maps.DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: "!no"}); err != nil {
		t.Fatal(err)
	}
	if event := <-watching.ResultChan(); event.Type != watch.Deleted {
		t.Errorf("told %v", event)
	}
}

// Discovery names every kind's resource; a REST mapper finds one by its kind and its short name.
func TestDiscoveryAndMapping(t *testing.T) {
	_, set := clients(t, config(t))
	groups, lists, err := set.Discovery().ServerGroupsAndResources()
	if err != nil || len(groups) < 15 {
		t.Fatalf("%d groups, %v", len(groups), err)
	}
	resources := 0
	for _, list := range lists {
		resources += len(list.APIResources)
	}
	if resources < 100 {
		t.Errorf("%d resources and subresources", resources)
	}
	mapper := restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(set.Discovery()))
	found, err := mapper.RESTMapping(schema.GroupKind{Group: "apps", Kind: "Deployment"})
	if err != nil || found.Resource.Resource != "deployments" || found.Scope.Name() != "namespace" {
		t.Errorf("%+v %v", found, err)
	}
	short := restmapper.NewShortcutExpander(mapper, set.Discovery(), nil)
	if resource, err := short.ResourceFor(schema.GroupVersionResource{Resource: "sts"}); err != nil || resource.Resource != "statefulsets" {
		t.Errorf("%v %v", resource, err)
	}
}

// A pager reads a list in pieces; none is lost or told twice.
func TestPagedLists(t *testing.T) {
	cfg, ears := listening(t)
	ctx, set := clients(t, cfg)
	ns := namespace(t)
	maps := set.CoreV1().ConfigMaps(ns)
	for n := range 25 {
		if _, err := maps.Create(ctx, configMap(fmt.Sprintf("c%02d", n), nil), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	seen := map[string]int{}
	pages := pager.New(func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
		return maps.List(ctx, options)
	})
	pages.PageSize = 10
	err := pages.EachListItem(ctx, metav1.ListOptions{}, func(object runtime.Object) error {
		seen[object.(*corev1.ConfigMap).Name]++
		return nil
	})
	if err != nil || len(seen) < 25 || ears.with("limit=10") < 3 {
		t.Errorf("%d seen in %v (%v)", len(seen), ears.requests, err)
	}
}

// Subresources have clients of their own: scale, eviction, tokens, reviews.
func TestSubresourcesAndReviews(t *testing.T) {
	ctx, set := clients(t, config(t))
	ns := namespace(t)
	if _, err := set.AppsV1().Deployments(ns).Create(ctx, deployment("web"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	deployments := set.AppsV1().Deployments(ns)
	err := retry.RetryOnConflict(retry.DefaultRetry, func() error { // the controller writes its status meanwhile
		scale, err := deployments.GetScale(ctx, "web", metav1.GetOptions{})
		if err != nil {
			return err
		}
		scale.Spec.Replicas = 2
		_, err = deployments.UpdateScale(ctx, "web", scale, metav1.UpdateOptions{})
		return err
	})
	if found, _ := deployments.Get(ctx, "web", metav1.GetOptions{}); err != nil || *found.Spec.Replicas != 2 {
		t.Errorf("%+v %v", found.Spec, err)
	}
	pod(t, ns)
	eviction := &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: ns}}
	if err := set.CoreV1().Pods(ns).EvictV1(ctx, eviction); err != nil {
		t.Error(err)
	}
	may, err := set.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, &authorizationv1.SelfSubjectAccessReview{
		Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &authorizationv1.ResourceAttributes{
			Verb: "list", Resource: "pods", Namespace: ns,
		}},
	}, metav1.CreateOptions{})
	if err != nil || !may.Status.Allowed {
		t.Errorf("may not: %v", err)
	}
	token, err := set.CoreV1().ServiceAccounts(ns).CreateToken(ctx, "default", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil || strings.Count(token.Status.Token, ".") != 2 {
		t.Errorf("no token: %v", err)
	}
}

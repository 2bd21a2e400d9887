// Package main is a controller-runtime manager over Lamps (../lamps.yaml): it owns a ConfigMap of
// each, keeps a finalizer and status, elects a leader, and judges and mutates by webhooks.
// test_manager.py builds and runs it. CERTS is a folder with tls.crt and tls.key.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/webhook"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"
)

const finalizer = "podwire.example.com/manager"

func lamp() *unstructured.Unstructured {
	made := &unstructured.Unstructured{}
	made.SetGroupVersionKind(
		schema.GroupVersionKind{Group: "podwire.example.com", Version: "v1", Kind: "Lamp"})
	return made
}

type reconciler struct{ client.Client }

// Reconcile makes the ConfigMap of a lamp and tells it in status; the finalizer goes at the end.
func (r reconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	found := lamp()
	if err := r.Get(ctx, request.NamespacedName, found); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if found.GetDeletionTimestamp() != nil {
		controllerutil.RemoveFinalizer(found, finalizer)
		ctrl.LoggerFrom(ctx).Info("lamp is out")
		return ctrl.Result{}, client.IgnoreNotFound(r.Update(ctx, found))
	}
	if controllerutil.AddFinalizer(found, finalizer) {
		return ctrl.Result{}, r.Update(ctx, found)
	}
	watts, _, _ := unstructured.NestedInt64(found.Object, "spec", "watts")
	owned := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: found.GetName(), Namespace: found.GetNamespace()}}
	done, err := controllerutil.CreateOrUpdate(ctx, r.Client, owned, func() error {
		owned.Data = map[string]string{"watts": strconv.FormatInt(watts, 10)}
		return controllerutil.SetControllerReference(found, owned, r.Scheme())
	})
	if err != nil || done == controllerutil.OperationResultNone {
		return ctrl.Result{}, err
	}
	before := found.DeepCopy()
	err = unstructured.SetNestedField(found.Object, string(done), "status", "configmap")
	if err != nil {
		return ctrl.Result{}, err
	}
	return ctrl.Result{}, r.Status().Patch(ctx, found, client.MergeFrom(before))
}

func spec(request admission.Request) (map[string]any, error) {
	var object struct{ Spec map[string]any }
	err := json.Unmarshal(request.Object.Raw, &object)
	return object.Spec, err
}

func judge(_ context.Context, request admission.Request) admission.Response {
	told, err := spec(request)
	if err != nil {
		return admission.Errored(http.StatusBadRequest, err)
	}
	watts, _ := told["watts"].(float64)
	if watts > 100 {
		return admission.Denied("that melts")
	}
	if watts > 60 {
		return admission.Allowed("").WithWarnings("that is warm")
	}
	return admission.Allowed("")
}

func paint(_ context.Context, request admission.Request) admission.Response {
	told, err := spec(request)
	if err != nil {
		return admission.Errored(http.StatusBadRequest, err)
	}
	if told["colour"] != nil {
		return admission.Allowed("")
	}
	var object map[string]any
	if err := json.Unmarshal(request.Object.Raw, &object); err != nil {
		return admission.Errored(http.StatusBadRequest, err)
	}
	told["colour"] = "white"
	object["spec"] = told
	changed, err := json.Marshal(object)
	if err != nil {
		return admission.Errored(http.StatusInternalServerError, err)
	}
	return admission.PatchResponseFromRaw(request.Object.Raw, changed)
}

func run() error {
	ctrl.SetLogger(zap.New())
	port, err := strconv.Atoi(os.Getenv("PORT"))
	if err != nil {
		return err
	}
	namespace := os.Getenv("NAMESPACE")
	manager, err := ctrl.NewManager(ctrl.GetConfigOrDie(), ctrl.Options{
		Cache:                         cache.Options{DefaultNamespaces: map[string]cache.Config{namespace: {}}},
		LeaderElection:                true,
		LeaderElectionID:              "lamps",
		LeaderElectionNamespace:       namespace,
		LeaderElectionReleaseOnCancel: true,
		Metrics:                       server.Options{BindAddress: "0"},
		WebhookServer: webhook.NewServer(webhook.Options{
			Host: "127.0.0.1", Port: port, CertDir: os.Getenv("CERTS")}),
	})
	if err != nil {
		return err
	}
	hooks := manager.GetWebhookServer()
	hooks.Register("/judge", &admission.Webhook{Handler: admission.HandlerFunc(judge)})
	hooks.Register("/paint", &admission.Webhook{Handler: admission.HandlerFunc(paint)})
	err = ctrl.NewControllerManagedBy(manager).
		For(lamp()).Owns(&corev1.ConfigMap{}).Complete(reconciler{manager.GetClient()})
	if err != nil {
		return err
	}
	return manager.Start(ctrl.SetupSignalHandler())
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

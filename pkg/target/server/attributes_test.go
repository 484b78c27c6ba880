package server

import (
	"maps"
	"strconv"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"

	targetv1 "github.com/portbind/portbind/pkg/targetapi/v1"
)

func TestAttributes(t *testing.T) {
	r := newRig(t)
	ctx := t.Context()
	first := map[string]string{"pathSelector": "queue-length"}
	v, err := r.CreateVolume(ctx, &targetv1.CreateVolumeRequest{Key: vol("v"), Attributes: first})
	want(t, err, codes.OK)
	if !maps.Equal(v.GetAttributes(), first) {
		t.Errorf("created with %v", v.GetAttributes())
	}
	second := map[string]string{"noPathRetry": "5m0s"}
	_, err = r.ModifyVolume(ctx, &targetv1.ModifyVolumeRequest{Key: vol("v"), Attributes: second})
	want(t, err, codes.OK)
	p, err := r.Publish(ctx, &targetv1.PublishRequest{Key: vol("v"), Initiator: nodeA})
	want(t, err, codes.OK)
	if !maps.Equal(p.GetAttributes(), second) {
		t.Errorf("published with %v", p.GetAttributes())
	}
	_, err = r.ModifyVolume(ctx, &targetv1.ModifyVolumeRequest{Key: vol("none"), Attributes: second})
	want(t, err, codes.NotFound)
}

func TestAttributesRefused(t *testing.T) {
	r := newRig(t)
	ctx := t.Context()
	r.create("v")
	many := map[string]string{}
	for i := range 17 {
		many["a"+strconv.Itoa(i)] = "x"
	}
	for _, bad := range []map[string]string{
		many,
		{"": "x"},
		{"a=b": "x"},
		{"a,b": "x"},
		{"a.b": "x"},
		{strings.Repeat("a", 64): "x"},
		{"a": ""},
		{"a": "b,portbind.kind=snapshot"},
		{"a": "b c"},
		{"a": "b\n"},
		{"a": strings.Repeat("b", 64)},
		{"a": "ü"},
	} {
		_, err := r.CreateVolume(ctx, &targetv1.CreateVolumeRequest{Key: vol("w"), Attributes: bad})
		want(t, err, codes.InvalidArgument, "attributes")
		_, err = r.ModifyVolume(ctx, &targetv1.ModifyVolumeRequest{Key: vol("v"), Attributes: bad})
		want(t, err, codes.InvalidArgument, "attributes")
	}
}

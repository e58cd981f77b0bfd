package main

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"holdfast/image/builder"
	"holdfast/verify/pcrs"
)

func built(pcr0, pcr1, pcr2 byte) *builder.Enclave {
	return &builder.Enclave{Version: "v1.0.0", Image: pcrs.Image{
		Architecture: pcrs.X8664, EIF: pcrs.Digest{9}, Size: 1,
		PCR0: pcrs.PCR{pcr0}, PCR1: pcrs.PCR{pcr1}, PCR2: pcrs.PCR{pcr2}, Verify: pcrs.Digest{8},
	}}
}

func publishing(t *testing.T, e *builder.Enclave) *pcrs.File {
	t.Helper()
	f, err := (*pcrs.File)(nil).WithImage(e.Version, e.Image)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestWhatWasPublishedIsAccepted(t *testing.T) {
	var out bytes.Buffer
	if err := comparePublished(&out, publishing(t, built(1, 2, 3)), built(1, 2, 3)); err != nil || out.Len() > 0 {
		t.Fatalf("got %v, %q", err, &out)
	}
}

func TestThePartThatMovedIsNamed(t *testing.T) {
	for _, c := range []struct {
		name     string
		built    *builder.Enclave
		has, not string
	}{
		{"the application", built(7, 2, 8), "PCR2, the application", "PCR1"},
		{"the platform", built(7, 8, 3), "PCR1, the platform", "PCR2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out bytes.Buffer
			err := comparePublished(&out, publishing(t, built(1, 2, 3)), c.built)
			if !errors.Is(err, errMeasurements) {
				t.Fatalf("got %v, want errMeasurements", err)
			}
			if !strings.Contains(out.String(), c.has) || strings.Contains(out.String(), c.not) || !strings.Contains(out.String(), "make pcrs") {
				t.Fatalf("got %s", &out)
			}
		})
	}
}

func TestTheProgramVerifyIsComparedToo(t *testing.T) {
	for name, digest := range map[string]pcrs.Digest{"another": {7}, "none": {}} {
		published := built(1, 2, 3)
		published.Image.Verify = digest
		var out bytes.Buffer
		err := comparePublished(&out, publishing(t, published), built(1, 2, 3))
		if !errors.Is(err, errMeasurements) || !strings.Contains(out.String(), "the program verify") || strings.Contains(out.String(), "PCR2") {
			t.Errorf("%s: got %v, %s", name, err, &out)
		}
	}
}

func TestAVersionWithoutAnEntryFails(t *testing.T) {
	var out bytes.Buffer
	e := built(1, 2, 3)
	f := publishing(t, e)
	e.Version = "v1.0.1"
	if err := comparePublished(&out, f, e); !errors.Is(err, errMeasurements) || !strings.Contains(out.String(), "no active entry for v1.0.1") {
		t.Fatalf("got %v, %s", err, &out)
	}
}

func TestARevokedEntryIsNoEntry(t *testing.T) {
	var out bytes.Buffer
	f := publishing(t, built(1, 2, 3))
	f.Releases[0].Status = pcrs.Revoked
	if err := comparePublished(&out, f, built(1, 2, 3)); !errors.Is(err, errMeasurements) {
		t.Fatalf("got %v, want errMeasurements", err)
	}
}

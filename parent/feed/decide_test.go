package feed

import (
	"testing"
	"time"

	"holdfast/enclave/control/message"
)

func TestWhatIsDoneNext(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	old, fresh := digest{1}, digest{2}
	age := &message.Bundle{Name: "a", Version: 1, Age: true}
	kms := &message.Bundle{Name: "k", Version: 1, KMSKey: "arn:…"}
	until := func(d time.Duration) *time.Time { t := now.Add(d); return &t }
	for name, c := range map[string]struct {
		situation
		want step
	}{
		"nothing to give":             {situation{}, rest},
		"the source is not there yet": {situation{hasSource: true}, rest},
		"a first bundle":              {situation{hasSource: true, offered: old}, giveBundle},
		"the same bundle":             {situation{hasSource: true, offered: old, taken: old}, rest},
		"a newer bundle":              {situation{hasSource: true, offered: fresh, taken: old, status: message.Status{State: message.Serving, Bundle: age}}, giveBundle},
		"a bundle, before its time":   {situation{hasSource: true, offered: fresh, bundleAfter: now.Add(1)}, rest},
		"a bundle, at its time":       {situation{hasSource: true, offered: fresh, bundleAfter: now}, giveBundle},
		"credentials before any bundle": {
			situation{hasSource: true, hasCredentials: true}, rest},
		"credentials for a bundle that needs none": {
			situation{hasSource: true, offered: old, taken: old, hasCredentials: true, status: message.Status{Bundle: age}}, rest},
		"credentials for a pending bundle": {
			situation{hasSource: true, offered: old, taken: old, hasCredentials: true, status: message.Status{Pending: kms}}, giveCredentials},
		"credentials for the bundle in force": {
			situation{hasSource: true, offered: old, taken: old, hasCredentials: true, status: message.Status{Bundle: kms}}, giveCredentials},
		"no credentials to be had": {
			situation{hasSource: true, offered: old, taken: old, status: message.Status{Pending: kms}}, rest},
		"a bundle goes before credentials": {
			situation{hasSource: true, offered: fresh, taken: old, hasCredentials: true, status: message.Status{Bundle: kms}}, giveBundle},
		"credentials while a bundle must wait": {
			situation{hasSource: true, offered: fresh, bundleAfter: now.Add(1), hasCredentials: true, status: message.Status{Bundle: kms}}, giveCredentials},
		"credentials with no source of bundles": {
			situation{hasCredentials: true}, giveCredentials},
		"credentials that last": {
			situation{hasCredentials: true, status: message.Status{CredentialsUntil: until(renewal)}}, rest},
		"credentials that end soon": {
			situation{hasCredentials: true, status: message.Status{CredentialsUntil: until(renewal - 1)}}, giveCredentials},
		"credentials that have ended": {
			situation{hasCredentials: true, status: message.Status{CredentialsUntil: until(-time.Hour)}}, giveCredentials},
		"credentials, before their time": {
			situation{hasCredentials: true, credentialsAfter: now.Add(1)}, rest},
	} {
		c.now = now
		if got := c.next(); got != c.want {
			t.Errorf("%s: got step %d, want %d", name, got, c.want)
		}
	}
}

func TestPausesDoubleUpToAMinute(t *testing.T) {
	var b backoff
	var total time.Duration
	for range 8 {
		total += b.failed()
	}
	if want := firstPause * 255; total != want {
		t.Errorf("eight failures take %v, want %v", total, want)
	}
	for range 1000 {
		if pause := b.failed(); pause != longestPause {
			t.Fatalf("got %v, want %v", pause, longestPause)
		}
	}
	b.succeeded()
	if pause := b.failed(); pause != firstPause {
		t.Errorf("after a success: got %v, want %v", pause, firstPause)
	}
}

package watch_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"holdfast/verify/binding"
	"holdfast/verify/watch"
)

// instance names a run for short.
func instance(name string) watch.Instance {
	return watch.NewInstance(name, binding.Binding{HPKEKey: []byte(name)})
}

// world is a gate to enclaves that a test moves about. Addresses without a run
// do not answer.
type world struct {
	mu       sync.Mutex          // held by the story while it is told
	runs     map[string][]string // by address; several take turns
	turn     int
	has      map[string]bool // who was given keys
	given    []string        // in order
	releases map[string]error
	check    error // what the next check fails with
}

func (w *world) Check(_ context.Context, url string) (watch.Enclave, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.check != nil {
		return nil, w.check
	}
	runs := w.runs[url]
	if len(runs) == 0 {
		return nil, fmt.Errorf("%w: connection refused", watch.ErrNoAnswer)
	}
	w.turn++
	return &run{w, runs[w.turn%len(runs)]}, nil
}

type run struct {
	world *world
	name  string
}

func (r *run) Instance() watch.Instance { return instance(r.name) }
func (r *run) Close()                   {}

func (r *run) Release(context.Context) error {
	r.world.mu.Lock()
	defer r.world.mu.Unlock()
	err := r.world.releases[r.name]
	delete(r.world.releases, r.name)
	if err == nil || errors.Is(err, watch.ErrUncertain) {
		if r.world.has[r.name] {
			return watch.ErrHasKeys
		}
		r.world.has[r.name] = true
		r.world.given = append(r.world.given, r.name)
	}
	return err
}

const a, b = "https://a", "https://b"

var config = watch.Config{URLs: []string{a}, Interval: 15 * time.Second, Deadline: 10 * time.Minute, Silence: 5 * time.Minute}

var both = func() watch.Config { c := config; c.URLs = []string{a, b}; return c }()

// A watcher is a watch on a world, on a clock of its own.
type watcher struct {
	*world
	events []watch.Event
	err    error
	done   chan struct{}
	stop   context.CancelFunc
}

func (w *watcher) kinds() string {
	var out []string
	for _, e := range w.events {
		out = append(out, string(e.Kind))
	}
	return strings.Join(out, " ")
}

// watching runs story beside a watch, in a bubble of synthetic time.
func watching(t *testing.T, c watch.Config, before []watch.Supplied, runs map[string][]string, story func(*watcher)) *watcher {
	t.Helper()
	if runs == nil {
		runs = map[string][]string{}
	}
	w := &watcher{world: &world{runs: runs, has: map[string]bool{}, releases: map[string]error{}}, done: make(chan struct{})}
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		w.stop = stop
		watching, err := watch.New(c, w.world, watch.Resume(before...), func(e watch.Event) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.events = append(w.events, e)
		})
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			defer close(w.done)
			w.err = watching.Run(ctx)
		}()
		synctest.Wait()
		w.mu.Lock()
		story(w)
		w.mu.Unlock()
		stop()
		<-w.done
	})
	return w
}

// pass lets time pass.
func (w *watcher) pass(d time.Duration) {
	w.mu.Unlock()
	time.Sleep(d)
	synctest.Wait()
	w.mu.Lock()
}

func (w *watcher) want(t *testing.T, given ...string) {
	t.Helper()
	if !slices.Equal(w.given, given) {
		t.Errorf("supplied %v, want %v; events: %+v", w.given, given, w.events)
	}
}

func TestARestartedEnclaveIsSuppliedAgain(t *testing.T) {
	w := watching(t, config, nil, map[string][]string{a: {"one"}}, func(w *watcher) {
		w.want(t, "one")
		w.pass(time.Hour)
		w.want(t, "one")
		w.runs[a] = nil
		w.pass(time.Minute)
		w.runs[a] = []string{"two"}
		w.pass(time.Minute)
		w.want(t, "one", "two")
	})
	if w.err != nil || w.kinds() != "released silent released" {
		t.Errorf("got %v, events %s", w.err, w.kinds())
	}
}

func TestTwoInstancesBehindOneAddressAreFoundBeforeTheSecondIsSupplied(t *testing.T) {
	w := watching(t, config, nil, map[string][]string{a: {"one"}}, func(w *watcher) {
		w.runs[a] = []string{"one", "two"}
		w.pass(10 * time.Minute)
	})
	w.want(t, "one")
	if w.err != nil || !strings.Contains(w.kinds(), "waiting") {
		t.Errorf("got %v, events %s", w.err, w.kinds())
	}
}

func TestAReplacedInstanceThatAnswersAgainEndsTheWatch(t *testing.T) {
	w := watching(t, config, nil, map[string][]string{a: {"one"}}, func(w *watcher) {
		w.runs[a] = []string{"two"}
		w.pass(time.Minute)
		w.want(t, "one", "two")
		w.runs[a] = []string{"one"}
		w.pass(time.Minute)
	})
	if !errors.Is(w.err, watch.ErrCopies) || !strings.HasSuffix(w.kinds(), "failed") {
		t.Errorf("got %v, events %s", w.err, w.kinds())
	}
}

func TestOneInstanceOfTwoAddressesIsSupplied(t *testing.T) {
	w := watching(t, both, nil, map[string][]string{a: {"one"}, b: {"two"}}, func(w *watcher) { w.pass(time.Hour) })
	w.want(t, "one")
	if w.err != nil || w.kinds() != "released waiting alive" && w.kinds() != "released waiting" {
		t.Errorf("got %v, events %s", w.err, w.kinds())
	}
}

func TestAnotherAddressTakesOverAfterSilence(t *testing.T) {
	watching(t, both, nil, map[string][]string{a: {"one"}, b: {"two"}}, func(w *watcher) {
		w.runs[a] = nil
		w.pass(4 * time.Minute)
		w.want(t, "one")
		w.pass(2 * time.Minute)
		w.want(t, "one", "two")
	})
}

func TestSilenceThatEndsInTimeKeepsThePlace(t *testing.T) {
	w := watching(t, both, nil, map[string][]string{a: {"one"}, b: {"two"}}, func(w *watcher) {
		for range 5 {
			w.runs[a] = nil
			w.pass(4 * time.Minute)
			w.runs[a] = []string{"one"}
			w.pass(time.Minute)
		}
	})
	w.want(t, "one")
	if w.err != nil {
		t.Error(w.err)
	}
}

func TestAnotherAddressTakesOverAtOnceWhereTheFirstShowsAnotherInstance(t *testing.T) {
	c := both
	c.URLs = []string{b, a}
	watching(t, c, nil, map[string][]string{a: {"one"}}, func(w *watcher) {
		w.want(t, "one")
		w.runs[a], w.runs[b] = []string{"two"}, []string{"three"}
		w.pass(time.Minute)
		// b is asked first, but whether one is gone shows only at a.
		w.want(t, "one", "two")
		w.pass(time.Hour)
		w.want(t, "one", "two")
	})
}

func TestAnInstanceThatMovesIsFollowed(t *testing.T) {
	watching(t, both, nil, map[string][]string{a: {"one"}}, func(w *watcher) {
		w.runs[a], w.runs[b] = []string{"two"}, []string{"one"}
		w.pass(time.Hour)
		w.want(t, "one")
	})
}

func TestCopiesAreSuppliedOnlyWhereAllowed(t *testing.T) {
	c := both
	c.AllowCopies = true
	w := watching(t, c, nil, map[string][]string{a: {"one"}, b: {"two"}}, func(w *watcher) { w.pass(time.Hour) })
	w.want(t, "one", "two")
	if w.err != nil {
		t.Error(w.err)
	}
}

func TestAFailedCheckEndsTheWatch(t *testing.T) {
	failure := errors.New("check failed: E1")
	w := watching(t, config, nil, map[string][]string{a: {"one"}}, func(w *watcher) {
		w.check = failure
		w.pass(time.Minute)
		w.check, w.runs[a] = nil, []string{"two"}
		w.pass(time.Hour)
	})
	w.want(t, "one")
	if !errors.Is(w.err, failure) || w.kinds() != "released failed" {
		t.Errorf("got %v, events %s", w.err, w.kinds())
	}
}

func TestLongSilenceEndsTheWatch(t *testing.T) {
	w := watching(t, config, nil, nil, func(w *watcher) { w.pass(9 * time.Minute) })
	if w.err != nil {
		t.Errorf("before the deadline: %v", w.err)
	}
	w = watching(t, config, nil, nil, func(w *watcher) { w.pass(11 * time.Minute) })
	if !errors.Is(w.err, watch.ErrSilent) {
		t.Errorf("got %v", w.err)
	}
}

func TestAReleaseThatMayHaveArrivedIsTriedAgainAndNoOtherInstanceIsSupplied(t *testing.T) {
	c := both
	w := watching(t, c, nil, map[string][]string{b: {"two"}}, func(w *watcher) {
		w.want(t, "two")
		w.releases["three"] = watch.ErrUncertain
		w.runs[b] = []string{"three"}
		w.pass(20 * time.Second) // two rounds: the attempt, and the one that learns of its success
		w.runs[a] = []string{"four"}
		w.pass(time.Hour)
	})
	w.want(t, "two", "three")
	if w.err != nil || !strings.Contains(fmt.Sprint(w.events), "had arrived") {
		t.Errorf("got %v, events %+v", w.err, w.events)
	}
}

func TestAnInstanceThatMayHaveTheKeysIsNotForgotten(t *testing.T) {
	w := watching(t, config, nil, map[string][]string{a: nil}, func(w *watcher) {
		w.releases["one"] = watch.ErrUncertain
		w.runs[a] = []string{"one"}
		w.pass(15 * time.Second)
		w.runs[a] = []string{"two"}
		w.pass(time.Minute)
		w.runs[a] = []string{"one"}
		w.pass(time.Minute)
	})
	if !errors.Is(w.err, watch.ErrCopies) {
		t.Errorf("got %v", w.err)
	}
}

func TestKeysFromElsewhereEndTheWatch(t *testing.T) {
	w := watching(t, config, nil, nil, func(w *watcher) {
		w.has["one"] = true
		w.runs[a] = []string{"one"}
		w.pass(time.Minute)
	})
	if !errors.Is(w.err, watch.ErrHasKeys) {
		t.Errorf("got %v", w.err)
	}
}

func TestARefusedReleaseEndsTheWatch(t *testing.T) {
	refused := errors.New("status 400")
	w := watching(t, config, nil, nil, func(w *watcher) {
		w.releases["one"] = refused
		w.runs[a] = []string{"one"}
		w.pass(time.Minute)
	})
	if !errors.Is(w.err, refused) {
		t.Errorf("got %v", w.err)
	}
}

func TestAResumedWatchKnowsWhatWasSupplied(t *testing.T) {
	before := []watch.Supplied{{Instance: instance("zero"), URL: a, Confirmed: true}, {Instance: instance("one"), URL: a, Confirmed: true}}
	w := watching(t, both, before, map[string][]string{a: {"one"}, b: {"two"}}, func(w *watcher) { w.pass(time.Hour) })
	w.want(t)
	watching(t, both, before, map[string][]string{b: {"two"}}, func(w *watcher) {
		w.pass(4 * time.Minute)
		w.want(t) // silence counts from the start of this watch
		w.pass(2 * time.Minute)
		w.want(t, "two")
	})
	w = watching(t, both, before, map[string][]string{a: {"one"}, b: {"zero"}}, func(w *watcher) { w.pass(time.Minute) })
	if !errors.Is(w.err, watch.ErrCopies) {
		t.Errorf("got %v", w.err)
	}
}

func TestNoInstanceIsSuppliedThatDoesNotStay(t *testing.T) {
	w := watching(t, config, []watch.Supplied{{Instance: instance("one"), URL: a, Confirmed: true}},
		map[string][]string{a: {"two", "three", "four"}}, func(w *watcher) { w.pass(time.Minute) })
	for _, name := range w.given {
		if name == "one" {
			t.Error("the first was supplied twice")
		}
	}
	if len(w.given) > 1 && !errors.Is(w.err, watch.ErrCopies) {
		t.Errorf("supplied %v and went on: %v", w.given, w.err)
	}
}

func TestInstancesDifferByModuleAndByHPKEKeyAlone(t *testing.T) {
	one := binding.Binding{TLSKey: []byte("tls"), HPKEKey: []byte("hpke")}
	renewed := one
	renewed.TLSKey, renewed.Configuration = []byte("renewed"), [48]byte{1}
	other := one
	other.HPKEKey = []byte("other")
	if watch.NewInstance("m", one) != watch.NewInstance("m", renewed) {
		t.Error("a renewed TLS identity or a configuration makes another instance")
	}
	if watch.NewInstance("m", one) == watch.NewInstance("m", other) || watch.NewInstance("m", one) == watch.NewInstance("n", one) {
		t.Error("two runs have one name")
	}
	if watch.NewInstance("ab", binding.Binding{HPKEKey: []byte("c")}) == watch.NewInstance("a", binding.Binding{HPKEKey: []byte("bc")}) {
		t.Error("bytes moved from one part to the other")
	}
}

func TestAWatchNeedsSensibleLimits(t *testing.T) {
	for name, change := range map[string]func(*watch.Config){
		"no address":       func(c *watch.Config) { c.URLs = nil },
		"an address twice": func(c *watch.Config) { c.URLs = []string{a, a} },
		"no interval":      func(c *watch.Config) { c.Interval = 0 },
		"no deadline":      func(c *watch.Config) { c.Deadline = 0 },
		"no silence":       func(c *watch.Config) { c.Silence = -1 },
	} {
		c := config
		change(&c)
		if _, err := watch.New(c, &world{}, &watch.Ledger{}, nil); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

package ethereum_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"holdfast/enclave/ethereum"
	"holdfast/enclave/ethereum/bls"
	"holdfast/enclave/slashing"
	"holdfast/enclave/slashing/slashingtest"
)

// configured returns a service loaded with a changed configuration.
func configured(t testing.TB, change func(*ethereum.Config), keys ...*bls.SecretKey) *ethereum.Service {
	t.Helper()
	config := ethereum.Config{Network: testNetwork(), Keys: keys, Slashing: slashingtest.NewMemory(root(validatorsRoot))}
	change(&config)
	service := ethereum.New(nil)
	if err := service.Load(config); err != nil {
		t.Fatal(err)
	}
	return service
}

func public(t testing.TB, n byte) bls.PublicKey { return testKey(t, n).PublicKey() }

func imported(t testing.TB, service *ethereum.Service, ns ...byte) []bool {
	t.Helper()
	keys := make([]ethereum.Imported, len(ns))
	for i, n := range ns {
		keys[i] = ethereum.Imported{Key: testKey(t, n), Path: "m/12381/3600/0/0/0"}
	}
	added, err := service.Import(keys...)
	if err != nil {
		t.Fatal(err)
	}
	return added
}

func wantSigns(t *testing.T, service *ethereum.Service, signs map[byte]bool) {
	t.Helper()
	randao := `{"type":"RANDAO_REVEAL",` + forkInfo + `,"randao_reveal":{"epoch":"3"}}`
	for n, want := range signs {
		w := post(service, public(t, n).String(), randao)
		if got := w.Code == 200; got != want || !got && w.Code != http.StatusNotFound {
			t.Errorf("key %d: got %d %s, want to sign: %v", n, w.Code, w.Body, want)
		}
		if listed := slices.Contains(service.PublicKeys(), public(t, n)); listed != want {
			t.Errorf("key %d: listed: %v, want %v", n, listed, want)
		}
	}
}

func TestImportedKeysSignUntilTheyAreDeleted(t *testing.T) {
	service := loaded(t, testKey(t, 1))
	if added := imported(t, service, 2, 1, 2, 3); !slices.Equal(added, []bool{true, false, false, true}) {
		t.Errorf("added: got %v", added)
	}
	wantSigns(t, service, map[byte]bool{1: true, 2: true, 3: true, 4: false})
	outcomes, err := service.Delete(public(t, 2), public(t, 1), public(t, 4), public(t, 2))
	want := []ethereum.Deletion{ethereum.Deleted, ethereum.ReadOnly, ethereum.NotHeld, ethereum.NotHeld}
	if err != nil || !slices.Equal(outcomes, want) {
		t.Errorf("deleted: got %v, %v, want %v", outcomes, err, want)
	}
	wantSigns(t, service, map[byte]bool{1: true, 2: false, 3: true})
	imported(t, service, 2)
	wantSigns(t, service, map[byte]bool{2: true})
}

func TestANewerBundleReplacesTheOldOnesKeysAndNoOthers(t *testing.T) {
	service := loaded(t, testKey(t, 1), testKey(t, 2))
	imported(t, service, 3, 4)
	if err := service.Replace([]*bls.SecretKey{testKey(t, 2), testKey(t, 4), testKey(t, 5)}); err != nil {
		t.Fatal(err)
	}
	wantSigns(t, service, map[byte]bool{1: false, 2: true, 3: true, 4: true, 5: true})
	outcomes, err := service.Delete(public(t, 3), public(t, 4))
	if err != nil || !slices.Equal(outcomes, []ethereum.Deletion{ethereum.Deleted, ethereum.ReadOnly}) {
		t.Errorf("got %v, %v: a key that the bundle brings now is read-only", outcomes, err)
	}
}

func TestTheSameKeyGivenAgainIsNotWiped(t *testing.T) {
	key := testKey(t, 1)
	service := loaded(t, key)
	if err := service.Replace([]*bls.SecretKey{key}); err != nil {
		t.Fatal(err)
	}
	if _, err := service.Import(ethereum.Imported{Key: key}); err != nil {
		t.Fatal(err)
	}
	wantSigns(t, service, map[byte]bool{1: true})
}

func TestKeysThatAreNotTakenChangeNothing(t *testing.T) {
	empty := ethereum.New(nil)
	if _, err := empty.Import(ethereum.Imported{Key: testKey(t, 1)}); err == nil {
		t.Error("imported before Load")
	}
	if _, err := empty.Delete(public(t, 1)); err == nil {
		t.Error("deleted before Load")
	}
	if err := empty.Replace(nil); err == nil {
		t.Error("replaced before Load")
	}
	service := loaded(t, testKey(t, 1))
	if _, err := service.Import(ethereum.Imported{Key: testKey(t, 2)}, ethereum.Imported{}); !errors.Is(err, bls.ErrNoKey) {
		t.Errorf("an empty key: got %v", err)
	}
	if err := service.Replace([]*bls.SecretKey{testKey(t, 2), testKey(t, 2)}); err == nil {
		t.Error("a repeated key was taken")
	}
	wantSigns(t, service, map[byte]bool{1: true, 2: false})
}

// slowStore holds a duty until it is told to go on.
type slowStore struct {
	*slashingtest.Memory
	began, goOn chan struct{}
}

func (s slowStore) Record(ctx context.Context, network slashing.Root, key slashing.PublicKey, duty slashing.Duty) slashing.Decision {
	s.began <- struct{}{}
	<-s.goOn
	return s.Memory.Record(ctx, network, key, duty)
}

func TestADeletionWaitsForSignaturesUnderWay(t *testing.T) {
	store := slowStore{slashingtest.NewMemory(root(validatorsRoot)), make(chan struct{}), make(chan struct{})}
	service := loadedWith(t, store)
	imported(t, service, 2)
	answer, deleted := make(chan int, 1), make(chan error, 1)
	go func() { answer <- post(service, public(t, 2).String(), block(5, "a")).Code }()
	<-store.began
	go func() {
		_, err := service.Delete(public(t, 2))
		deleted <- err
	}()
	for len(service.PublicKeys()) > 0 {
		time.Sleep(time.Millisecond)
	}
	if w := post(service, public(t, 2).String(), block(6, "a")); w.Code != http.StatusNotFound {
		t.Errorf("meanwhile: got %d, want 404", w.Code)
	}
	select {
	case <-deleted:
		t.Error("deleted while a signature was under way")
	case <-time.After(20 * time.Millisecond):
	}
	close(store.goOn)
	if code := <-answer; code != 200 {
		t.Errorf("the signature under way: got %d, want 200", code)
	}
	if err := <-deleted; err != nil {
		t.Error(err)
	}
	history, err := store.Export(t.Context(), nil)
	if err != nil || history.States[slashing.PublicKey(public(t, 2))].Block.Slot != 5 {
		t.Errorf("got %+v, %v: the history must stay", history, err)
	}
}

func TestKeysComeAndGoWhileOthersSign(t *testing.T) {
	service := loaded(t, testKey(t, 1))
	var group sync.WaitGroup
	for range 2 {
		group.Go(func() {
			for n := range 20 {
				if w := post(service, public(t, 1).String(), `{"type":"RANDAO_REVEAL",`+forkInfo+`,"randao_reveal":{"epoch":"3"}}`); w.Code != 200 {
					t.Errorf("signature %d: got %d %s", n, w.Code, w.Body)
				}
				post(service, public(t, 2).String(), block(n+1, "a"))
			}
		})
	}
	for range 50 {
		imported(t, service, 2, 3)
		if _, err := service.Delete(public(t, 2), public(t, 3)); err != nil {
			t.Error(err)
		}
	}
	group.Wait()
	wantSigns(t, service, map[byte]bool{1: true, 2: false, 3: false})
}

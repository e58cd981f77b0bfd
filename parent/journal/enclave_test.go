package journal_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"holdfast/enclave/slashing"
	store "holdfast/enclave/slashing/journal"
)

// enclaveVariable makes the test's binary a store on the socket that it names, which
// asks for attestations and prints those that were allowed.
const enclaveVariable = "HOLDFAST_TEST_ENCLAVE"

func runEnclave(socket string) error {
	s, err := store.Open(context.Background(), config(socket))
	if err != nil {
		return err
	}
	history, err := s.Export(context.Background(), nil)
	if err != nil {
		return err
	}
	var printing sync.Mutex
	var group sync.WaitGroup
	for n := range 4 {
		group.Go(func() {
			for target := history.States[keyOf(n)].Attestation.Target + 1; ; target++ {
				if d := s.Record(context.Background(), chain, keyOf(n), vote(target)); d.Answer != slashing.Allowed {
					fmt.Fprintln(os.Stderr, d.Err)
					return
				}
				printing.Lock()
				fmt.Println(n, target)
				printing.Unlock()
			}
		})
	}
	group.Wait()
	return nil
}

func TestNothingWasAllowedThatAKilledEnclaveForgot(t *testing.T) {
	server := serve(t, t.TempDir())
	allowed := make(map[int]uint64)
	for range 6 {
		duties := runUntilKilled(t, server.socket, allowed)
		if duties < 200 {
			t.Fatalf("%d duties were allowed, want 200", duties)
		}
		s := open(t, config(server.socket))
		for n, target := range allowed {
			if d := s.Record(t.Context(), chain, keyOf(n), slashing.Attestation{Source: target - 1, Target: target, SigningRoot: slashing.Root{2}}); d.Answer != slashing.Denied {
				t.Errorf("target %d of key %d was allowed, and again: %v", target, n, d.Answer)
			}
		}
		s.Close()
	}
}

// runUntilKilled starts an enclave, kills it after a moment of work, and adds what it
// was allowed.
func runUntilKilled(t *testing.T, socket string, allowed map[int]uint64) (duties int) {
	t.Helper()
	command := exec.Command(os.Args[0])
	command.Env = append(os.Environ(), enclaveVariable+"="+socket)
	command.Stderr = os.Stderr
	stdout, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	stopped := time.AfterFunc(30*time.Second, func() { _ = command.Process.Kill() })
	defer stopped.Stop()
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		var n int
		var target uint64
		if _, err := fmt.Sscan(lines.Text(), &n, &target); err != nil {
			break // the line that the kill cut short
		}
		if allowed[n] = max(allowed[n], target); duties == 200 {
			_ = command.Process.Kill()
		}
		duties++
	}
	_ = command.Wait()
	return duties
}

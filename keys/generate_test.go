package main

import (
	"context"
	"errors"
	"io"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"holdfast/enclave/secret"
	"holdfast/keys/mnemonic"
)

// person answers at a console. What was shown is kept until it is cleared.
type person struct {
	shown, page string
	asked       []string
	cleared     int

	// answer is what is typed, given the words that were on the page.
	answer func(words []string, number int) (string, error)
}

func (p *person) Show(text []byte) error {
	p.shown += string(text)
	p.page += string(text)
	return nil
}

func (p *person) Clear() {
	p.shown = ""
	p.cleared++
}

func (p *person) Close() error { return nil }

var numbered = regexp.MustCompile(`(\d+)\. ([a-z]+)`)

func (p *person) Ask(_ context.Context, prompt string, _ bool) (secret.Bytes, error) {
	p.asked = append(p.asked, prompt)
	var number int
	if digits, ok := strings.CutPrefix(prompt, "Word "); ok {
		number, _ = strconv.Atoi(strings.TrimSuffix(digits, ": "))
		if strings.Contains(p.shown, "1.") {
			return secret.Bytes{}, errors.New("the words are still on the screen")
		}
	}
	var words []string
	for _, m := range numbered.FindAllStringSubmatch(p.page, -1) {
		words = append(words, m[2])
	}
	text, err := p.answer(words, number)
	return secret.New([]byte(text)), err
}

func diligent(words []string, number int) (string, error) {
	if number == 0 {
		return "", nil
	}
	return " " + strings.ToUpper(words[number-1]) + " ", nil
}

func TestAMnemonicIsShownOnceAndAskedBack(t *testing.T) {
	m, err := mnemonic.New()
	if err != nil {
		t.Fatal(err)
	}
	p := &person{answer: diligent}
	if err := showMnemonic(t.Context(), p, m); err != nil {
		t.Fatal(err)
	}
	var words []string
	for _, w := range numbered.FindAllStringSubmatch(p.page, -1) {
		words = append(words, w[2])
	}
	if strings.Join(words, " ") != string(m.Text().Reveal()) {
		t.Errorf("shown were %d words, not the mnemonic", len(words))
	}
	if len(p.asked) != 1+checkedWords || p.shown != "" || p.cleared == 0 {
		t.Errorf("asked %q, cleared %d times", p.asked, p.cleared)
	}
}

func TestASlipMayBeMended(t *testing.T) {
	m, err := mnemonic.New()
	if err != nil {
		t.Fatal(err)
	}
	answers := 0
	p := &person{answer: func(words []string, number int) (string, error) {
		if number > 0 {
			answers++
		}
		if answers <= checkedWords {
			return "slip", nil
		}
		return diligent(words, number)
	}}
	if err := showMnemonic(t.Context(), p, m); err != nil {
		t.Errorf("got %v", err)
	}
}

func TestAMnemonicThatWasNotWrittenDownIsNotUsed(t *testing.T) {
	m, err := mnemonic.New()
	if err != nil {
		t.Fatal(err)
	}
	for name, answer := range map[string]func([]string, int) (string, error){
		"wrong words":      func([]string, int) (string, error) { return "wrong", nil },
		"nothing":          func([]string, int) (string, error) { return "", nil },
		"the end of input": func([]string, int) (string, error) { return "", io.EOF },
		"one wrong word":   lastWrong(),
	} {
		p := &person{answer: answer}
		if err := showMnemonic(t.Context(), p, m); err == nil {
			t.Errorf("%s: confirmed", name)
		}
		if p.shown != "" && strings.Contains(p.shown, "1.") {
			t.Errorf("%s: the words stay on the screen", name)
		}
	}
}

// lastWrong answers every third question wrongly.
func lastWrong() func([]string, int) (string, error) {
	n := 0
	return func(words []string, number int) (string, error) {
		if number > 0 {
			n++
		}
		text, err := diligent(words, number)
		if n > 0 && n%checkedWords == 0 {
			text = "wrong"
		}
		return text, err
	}
}

func TestNumbersAreDifferentAndInOrder(t *testing.T) {
	seen := map[int]bool{}
	for range 200 {
		numbers, err := pick(3, 24)
		if err != nil || len(numbers) != 3 {
			t.Fatalf("got %v, %v", numbers, err)
		}
		for i, n := range numbers {
			if n < 0 || n >= 24 || i > 0 && n <= numbers[i-1] {
				t.Fatalf("got %v", numbers)
			}
			seen[n] = true
		}
	}
	if len(seen) != 24 {
		t.Errorf("only %d of the words are ever asked for", len(seen))
	}
}

//go:build js

// Command wasm is the verifier for a web page. It gives the page one function,
// holdfastVerify(files, settings), and waits to be called.
//
// files is an array of {name, data}, data a Uint8Array; settings is
// {atDocumentTime, nonce, release, measurements}. The answer is {html, verdict}
// or {error}. Package assemble makes the page.
package main

import (
	"fmt"
	"syscall/js"
	"time"

	"holdfast/verify/drop"
	"holdfast/verify/evidence"
)

func main() {
	js.Global().Set("holdfastVerify", js.FuncOf(func(_ js.Value, args []js.Value) (answer any) {
		// A mistake in the page must not end the program.
		defer func() {
			if p := recover(); p != nil {
				answer = map[string]any{"error": fmt.Sprint(p)}
			}
		}()
		return verify(args[0], args[1])
	}))
	select {}
}

func verify(files, settings js.Value) any {
	var dropped []evidence.File
	for i := range files.Length() {
		file := files.Index(i)
		data := make([]byte, file.Get("data").Length())
		js.CopyBytesToGo(data, file.Get("data"))
		dropped = append(dropped, evidence.File{Name: file.Get("name").String(), Data: data})
	}
	result, err := drop.Verify(dropped, drop.Settings{
		Now:            time.Now(),
		AtDocumentTime: settings.Get("atDocumentTime").Bool(),
		Nonce:          settings.Get("nonce").String(),
		Release:        settings.Get("release").String(),
		Measurements:   []byte(settings.Get("measurements").String()),
	})
	if err != nil {
		return map[string]any{"error": err.Error()}
	}
	return map[string]any{"html": result.HTML, "verdict": result.Verdict.String()}
}

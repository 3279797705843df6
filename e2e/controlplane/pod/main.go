// Command pod is the program in the Pods of the tests. Without an argument it does nothing until it is told to stop, as the
// container of a sandbox does. With the argument spin it uses a processor up. With an address it answers HTTP there with its Pod
// and its node, and serves on for some seconds when it is told to stop, as a server should that is still being sent to.
package main

import (
	"encoding/json"
	"log"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

const farewell = 5 * time.Second

func main() {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	if len(os.Args) < 2 {
		<-stop
		return
	}
	if os.Args[1] == "spin" {
		for len(stop) == 0 {
		}
		return
	}
	greeting, err := json.Marshal(map[string]string{"node": os.Getenv("NODE"), "pod": os.Getenv("POD")})
	if err != nil {
		log.Fatal(err)
	}
	go func() {
		<-stop
		time.Sleep(farewell)
		os.Exit(0)
	}()
	answer := func(w http.ResponseWriter, _ *http.Request) { w.Write(greeting) }
	log.Fatal(http.ListenAndServe(os.Args[1], http.HandlerFunc(answer)))
}

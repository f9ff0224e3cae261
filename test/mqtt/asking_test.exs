defmodule MQTT.AskingTest do
  use ExUnit.Case, async: true
  import MQTT.Test.Wire, except: [connect: 1, connect: 2]

  alias MQTT.Test.{Acceptor, V4}

  defmodule Asks do
    use MQTT.Server

    @impl true
    def init(test, _params) do
      send(test, {:connected, self()})
      {:ok, test, [session: :new, deliveries: :callbacks]}
    end

    @impl true
    def handle_publish(_topic, message, _opts, test), do: {:ok, test, {:publish, "back", message}}

    @impl true
    def handle_info(message, test), do: {:ok, test, {:publish, "info", message}}

    @impl true
    def handle_delivery(_topic, _message, _opts, test), do: {:send, test}
  end

  test "what a callback publishes is asked about, and sent, without the client doing anything" do
    port = Acceptor.start(transport: :listener, module: Asks, args: self(), options: [])
    client = open(port)
    # With a message right behind CONNECT.
    send_bytes(client, [V4.connect(0x02, ["client"]), V4.publish("a", "first")])
    assert recv(client) == <<0x20, 2, 0, 0>>
    assert recv(client) == V4.publish("back", "first")
    assert_receive {:connected, pid}
    send(pid, "second")
    assert recv(client) == V4.publish("info", "second")
  end
end

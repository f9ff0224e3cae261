defmodule MQTT.AskingTest do
  use ExUnit.Case, async: true
  import MQTT.Test.Wire, except: [connect: 1, connect: 2]

  alias MQTT.Session
  alias MQTT.Test.{Acceptor, Reports, V4}

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

  # A handler whose handle_delivery/4 is a function of the message, and whose state counts its messages.
  defmodule Told do
    use MQTT.Server

    @impl true
    def init({test, says, session}, _params) do
      send(test, {:connected, self()})
      {:ok, {test, says, 0}, [session: session, deliveries: :callbacks]}
    end

    @impl true
    def handle_info({:publish, message, opts}, state),
      do: {:ok, state, {:publish, "t", message, opts}}

    @impl true
    def handle_delivery(_topic, message, _opts, {test, says, count}) do
      send(test, {:asked, message})
      said = says.(message)
      put_elem(said, tuple_size(said) - 1, {test, says, count + 1})
    end

    @impl true
    def handle_delivered(ref, result, {test, _, _} = state) do
      send(test, {:delivered, ref, result})
      {:ok, state}
    end

    @impl true
    def handle_dropped(_topic, message, _opts, reason, {test, _, _} = state) do
      send(test, {:dropped, message, reason})
      {:ok, state}
    end

    @impl true
    def terminate(reason, {test, _, count}), do: send(test, {:terminated, reason, count})
  end

  defp told(says, session \\ :new, options \\ []) do
    args = {self(), says, session}
    Acceptor.start(transport: :listener, module: Told, args: args, options: options)
  end

  test "a message may have two names, and both are told" do
    client = told(fn _ -> {:send, :second, nil} end) |> V4.connected("client")
    assert_receive {:connected, pid}
    send(pid, {:publish, "x", %{qos: 1, ref: :first}})
    assert <<0x32, _, 1::16, "t", id::16, "x">> = recv(client)
    send_bytes(client, <<0x40, 2, id::16>>)
    assert_receive {:delivered, :first, :ok}
    assert_receive {:delivered, :second, :ok}
  end

  test "a message has the name that the handler of its connection gave it" do
    session = Session.new()
    port = told(&{:send, {self(), &1}, nil}, session, max_inflight: 1)
    client = open(port)
    send_bytes(client, V4.connect(0x00, ["client"]))
    assert <<0x20, 2, 0, 0>> = recv(client)
    assert_receive {:connected, first}
    for n <- ["1", "2"], do: :ok = Session.publish(session, "t", n, %{qos: 1})
    assert <<0x32, _, 1::16, "t", id::16, "1">> = recv(client)
    # It may be sent when the window, which is one message, lets it.
    assert_receive {:asked, "2"}
    close(client)

    for n <- ["1", "2"],
        do: assert_receive({:delivered, {^first, ^n}, {:error, :connection_lost}})

    client = V4.resumed(port, "client")
    assert_receive {:connected, second}
    assert <<0x3A, _, 1::16, "t", ^id::16, "1">> = recv(client)
    send_bytes(client, <<0x40, 2, id::16>>)
    assert <<0x32, _, 1::16, "t", id::16, "2">> = recv(client)
    send_bytes(client, <<0x40, 2, id::16>>)
    assert_receive {:delivered, {^second, "2"}, :ok}
  end

  test "what is discarded with the session is told, whatever it was called" do
    session = Session.new()
    port = told(&{:send, &1, nil}, session, max_inflight: 1)
    client = open(port)
    send_bytes(client, V4.connect(0x00, ["client"]))
    assert <<0x20, 2, 0, 0>> = recv(client)
    for n <- ["1", "2"], do: :ok = Session.publish(session, "t", n, %{qos: 1})
    assert <<0x32, _, 1::16, "t", _::16, "1">> = recv(client)
    assert_receive {:asked, "2"}
    close(client)
    for n <- ["1", "2"], do: assert_receive({:delivered, ^n, {:error, :connection_lost}})

    V4.connected(port, "client")
    for n <- ["1", "2"], do: assert_receive({:dropped, ^n, :discarded})
  end

  test "what there is no room for is told at once" do
    session = Session.new(max_session_messages: 1)
    client = told(fn _ -> {:send, nil} end, session) |> V4.connected("client")
    assert_receive {:connected, _}
    :ok = Session.publish(session, "t", "1", %{qos: 1})
    assert <<0x32, _, 1::16, "t", _::16, "1">> = recv(client)
    assert {:error, :queue_full} = Session.publish(session, "t", "2", %{qos: 1})
    assert_receive {:dropped, "2", :queue_full}
  end

  test "QoS 0 takes no room of the others" do
    test = self()

    # The first one waits for `:go`.
    says = fn message ->
      if message == "0" do
        send(test, :waits)
        receive do: (:go -> :ok)
      end

      {:send, nil}
    end

    session = Session.new(max_session_messages: 3)
    client = told(says, session) |> V4.connected("client")
    assert_receive {:connected, pid}
    :ok = Session.publish(session, "t", "0", %{qos: 0})
    assert_receive :waits
    for n <- ["1", "2"], do: :ok = Session.publish(session, "t", n, %{qos: 0})
    assert {:error, :queue_full} = Session.publish(session, "t", "3", %{qos: 0})
    for n <- ["4", "5", "6"], do: :ok = Session.publish(session, "t", n, %{qos: 1})
    send(pid, :go)
    for n <- ["0", "1", "2"], do: assert(recv(client) == V4.publish("t", n))

    for n <- ["4", "5", "6"],
        do: assert(<<0x32, _, 1::16, "t", _::16, ^n::binary>> = recv(client))

    assert_receive {:dropped, "3", :queue_full}
  end

  test "a callback that raises ends the connection with the state and the decisions of before" do
    says = fn
      "bad" -> raise "that message is bad"
      _ -> {:send, nil}
    end

    session = Session.new()
    port = told(says, session)
    Reports.subscribe()
    client = open(port)
    send_bytes(client, V4.connect(0x00, ["client"]))
    assert <<0x20, 2, 0, 0>> = recv(client)
    assert_receive {:connected, pid}
    # All three are there when it is asked.
    :sys.suspend(pid)
    for n <- ["a", "b", "bad"], do: :ok = Session.publish(session, "t", n, %{qos: 1})
    :sys.resume(pid)
    for n <- ["a", "b"], do: assert(<<0x32, _, 1::16, "t", _::16, ^n::binary>> = recv(client))
    assert_receive {:terminated, {%RuntimeError{}, _}, 2}
    assert %{inflight: 2, queued: 1} = Session.info(session)
  end

  defmodule Without do
    use MQTT.Server
    @impl true
    def init(session, _params), do: {:ok, nil, [session: session, deliveries: :callbacks]}
  end

  test "without handle_delivery/4, or a session, there is nobody to be asked" do
    Reports.subscribe()

    for session <- [:new, nil] do
      port = Acceptor.start(transport: :listener, module: Without, args: session, options: [])
      client = open(port)
      send_bytes(client, V4.connect(0x02, ["client"]))
      assert_closed(client)
      assert_receive {:report, _, {:gen_server, :terminate}}
    end
  end
end

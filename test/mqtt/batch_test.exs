defmodule MQTT.BatchTest do
  # How much of what a client sends one native call decodes, as a connection's process sees it.
  use ExUnit.Case, async: true

  alias MQTT.{Native, Packet, Server}
  alias MQTT.Test.{Acceptor, Wire}

  defmodule Handler do
    use MQTT.Server
    def init(_args, _params), do: {:ok, nil}
  end

  # A connection of MQTT 5.0 that was accepted, and whose bytes the test brings.
  defp connected do
    {:ok, connection} = Native.connection_open_fed("", Server.Options.new(Handler, []).native)
    {[{:connect, _}], :decide} = Native.connection_feed(connection, encode(%{type: :connect}))
    :ok = Native.connection_accept(connection, {nil, true, nil, %{}, nil})
    connection
  end

  defp encode(%{type: :connect} = packet),
    do: encode_all(Map.merge(%{client_id: "client", keep_alive: 60}, packet))

  defp encode(packet), do: encode_all(packet)

  defp encode_all(packet) do
    {:ok, bytes} = Packet.encode(packet, 5)
    bytes
  end

  # The events of each call.
  defp calls(connection, bytes) do
    {events, next} = Native.connection_feed(connection, bytes)

    # Behind many events what they took is worth giving back.
    next =
      case next do
        {:collect, next} when length(events) >= 256 -> next
        next when length(events) < 256 -> next
      end

    case next do
      :more -> [events | calls(connection, "")]
      :wait -> [events]
    end
  end

  defp topics(count), do: for(n <- 1..count, do: "#{n}")

  test "a call stops behind many filters, which lose nothing by that" do
    filters = topics(1_024)

    for {packet, name} <- [
          {%{
             type: :subscribe,
             filters: for(f <- filters, do: {f, %{qos: rem(String.to_integer(f), 3)}})
           }, :subscribe},
          {%{type: :unsubscribe, filters: filters}, :unsubscribe}
        ] do
      bytes = for id <- 1..8, into: "", do: encode(Map.put(packet, :packet_id, id))
      calls = connected() |> calls(bytes)
      assert length(calls) in 8..9
      events = Enum.concat(calls)
      assert for(event <- events, do: elem(event, 1)) == Enum.to_list(1..8)
      for event <- events, do: assert(elem(event, 0) == name)

      for event <- events, name == :subscribe do
        {:subscribe, id, subscriptions} = event

        for {filter, options} <- subscriptions do
          assert %{packet_id: ^id, shared: true, properties: %{}} = options
          assert options.qos == rem(String.to_integer(filter), 3)
        end

        assert for({filter, _} <- subscriptions, do: filter) == filters
      end
    end
  end

  test "or many properties" do
    properties = %{user_property: for(n <- 1..64, do: {"#{n}", ""})}
    publish = encode(%{type: :publish, topic: "t", payload: "x", properties: properties})
    calls = connected() |> calls(String.duplicate(publish, 200))
    assert length(calls) > 2
    events = Enum.concat(calls)
    assert length(events) == 200
    assert Enum.uniq(events) |> length() == 1
    # Others are as many as ever.
    plain = encode(%{type: :publish, topic: "t", payload: "x"})
    assert [events] = connected() |> calls(String.duplicate(plain, 1_000))
    assert length(events) == 1_000
  end

  defmodule Waits do
    use MQTT.Server

    @impl true
    def init(test, _params), do: {:ok, test}

    @impl true
    def handle_publish("wait", _message, _opts, test) do
      send(test, {:waiting, self()})
      receive do: (:go_on -> {:ok, test})
    end

    def handle_publish("t", message, _opts, test) do
      # Copied, as it would not say what it was a part of.
      send(test, {:message, :binary.copy(message), :binary.referenced_byte_size(message)})
      {:ok, test}
    end
  end

  test "many messages of a kilobyte share the memory that they were read into, and few do not have that of many" do
    port = Acceptor.start(module: Waits, args: self(), transport: :listener)
    client = Wire.connect(port)
    Wire.send_bytes(client, Wire.publish_packet("wait", ""))
    assert_receive {:waiting, pid}

    # Enough for reads that are full, of which the first ones are small; not a multiple of any of them.
    messages = for n <- 1..500, do: <<n::32>> <> :binary.copy(<<n>>, 1_000)
    # What the kernel may not take waits until the server reads.
    {first, others} = Enum.split(messages, 300)
    for message <- first, do: Wire.send_bytes(client, Wire.publish_packet("t", message))
    send(pid, :go_on)
    for message <- others, do: Wire.send_bytes(client, Wire.publish_packet("t", message))
    sizes = for message <- messages, do: assert_message(message)
    assert Enum.max(sizes) in 60_000..70_000

    # Each memory is as large as the messages in it, also that of the last ones, and parts of packets.
    for [size | _] = of_memory <- Enum.chunk_by(sizes, & &1),
        do: assert(size < 1_010 * (length(of_memory) + 2))
  end

  defp assert_message(message) do
    assert_receive {:message, received, size}, 5_000
    assert received == message
    size
  end
end

defmodule MQTT.Conformance.V5ReasonTest do
  # Reason String and User Property, which must not make a packet too long for the client, nor come if
  # it does not want to know of problems.
  use MQTT.Test.Conformance, version: "5.0"

  @long String.duplicate("why", 30)

  # A handler with a long reason for everything it refuses.
  defmodule Talkative do
    use MQTT.Server

    @why String.duplicate("why", 30)
    @properties %{reason_string: @why, user_property: [{"user", @why}]}
    @refusal {:not_authorized, @properties}

    @impl true
    def init(_test, %{client_id: "refused"}), do: {:stop, @refusal}

    def init(test, %{properties: %{authentication_method: _}}), do: {:continue, @properties, test}
    def init(test, _params), do: {:ok, test, {:connack, @properties}}

    @impl true
    def handle_auth(_, _, test), do: {:ok, test}

    @impl true
    def handle_publish("disconnect", _message, _opts, test),
      do: {:ok, test, {:disconnect, :not_authorized, @properties}}

    def handle_publish("echo", message, opts, test),
      do: {:ok, test, {:publish, "echo", message, %{properties: opts.properties}}}

    def handle_publish(_topic, _message, _opts, test), do: {:error, @refusal, test}

    @impl true
    def handle_subscribe(_filter, _qos, _options, test), do: {:error, @refusal, test}
    @impl true
    def handle_unsubscribe(_filter, _options, test), do: {:error, @refusal, test}
  end

  defp serve do
    MQTT.Test.Acceptor.start(transport: :listener, module: Talkative, args: self())
  end

  defp maximum_packet_size(bytes), do: <<0x27, bytes::32>>
  defp method, do: <<0x15, 0, 1, "m">>

  # A packet comes with both properties if it is as long as the client takes, and not with both if it
  # would be a byte longer. `answer` gives the packet's bytes for properties of a CONNECT.
  defp assert_left_out(answer) do
    whole = answer.("")
    assert texts(whole) == [0x1F, 0x26]
    size = byte_size(whole)
    assert answer.(maximum_packet_size(size)) == whole

    for limit <- [size - 1, 40] do
      bytes = answer.(maximum_packet_size(limit))
      assert byte_size(bytes) <= limit
      assert texts(bytes) != [0x1F, 0x26]
      assert without_properties(bytes) == without_properties(whole)
    end
  end

  defp texts(bytes) do
    [packet] = packets(bytes)
    properties = elem(packet, tuple_size(packet) - 1)
    Enum.sort(for {id, _} <- properties, id in [0x1F, 0x26], do: id)
  end

  defp without_properties(bytes) do
    [packet] = packets(bytes)
    Tuple.delete_at(packet, tuple_size(packet) - 1)
  end

  # What a connected client is answered.
  defp answer(bytes) do
    port = serve()

    fn properties ->
      client = connected(port, "C", 0x02, [], properties)
      send_bytes(client, bytes)
      recv(client)
    end
  end

  # What a CONNECT is answered.
  defp first_answer(client_id, more \\ "") do
    port = serve()

    fn properties ->
      client = open(port)
      send_bytes(client, connect(0x02, [client_id], [more, properties]))
      recv(client)
    end
  end

  statement ["MQTT-3.2.2-19", "MQTT-3.2.2-20"],
            "CONNACK leaves out what would make it too long" do
    assert_left_out(first_answer("C"))
    assert_left_out(first_answer("refused"))
  end

  statement ["MQTT-3.4.2-2", "MQTT-3.4.2-3"], "PUBACK leaves out what would make it too long" do
    assert_left_out(answer(publish(0x32, "a", 1, "x")))
  end

  statement ["MQTT-3.5.2-2", "MQTT-3.5.2-3"], "PUBREC leaves out what would make it too long" do
    assert_left_out(answer(publish(0x34, "a", 1, "x")))
  end

  statement ["MQTT-3.9.2-1", "MQTT-3.9.2-2"], "SUBACK leaves out what would make it too long" do
    assert_left_out(answer(subscribe(1, [{"a", 0}])))
  end

  statement ["MQTT-3.11.2-1", "MQTT-3.11.2-2"],
            "UNSUBACK leaves out what would make it too long" do
    assert_left_out(answer(unsubscribe(1, ["a"])))
  end

  statement ["MQTT-3.14.2-3", "MQTT-3.14.2-4"],
            "DISCONNECT leaves out what would make it too long" do
    assert_left_out(answer(publish("disconnect", "x")))
  end

  statement ["MQTT-3.15.2-2", "MQTT-3.15.2-3"], "AUTH leaves out what would make it too long" do
    assert_left_out(first_answer("C", method()))
  end

  statement "MQTT-3.1.2-29",
            "with Request Problem Information 0 they come with PUBLISH, CONNACK and DISCONNECT only" do
    {client, connack} = try_connect(serve(), connect(0x02, ["C"], <<0x17, 0>>))
    assert {:connack, 0, 0, _} = connack

    for {bytes, type} <- [
          {publish(0x32, "a", 1, "x"), :puback},
          {publish(0x34, "a", 1, "x"), :pubrec},
          {subscribe(1, [{"a", 0}]), :suback},
          {unsubscribe(1, ["a"]), :unsuback}
        ] do
      send_bytes(client, bytes)
      packet = recv_packet(client)
      assert {type, []} == {elem(packet, 0), elem(packet, 3)}
    end

    echo = publish(0x30, "echo", nil, "x", user_property("user", "property"))
    send_bytes(client, echo)
    assert recv(client) == echo
    send_bytes(client, publish("disconnect", "x"))
    assert {:disconnect, 0x87, _} = recv_packet(client)
  end

  statement "MQTT-3.1.2-29", "nor with AUTH" do
    {_client, auth} = try_connect(serve(), connect(0x02, ["C"], [method(), <<0x17, 0>>]))
    assert {:auth, 0x18, properties} = auth
    for {id, _} <- properties, do: refute(id in [0x1F, 0x26])
  end

  statement "MQTT-3.1.2-29", "with Request Problem Information 1 or without it they come" do
    port = serve()

    for property <- ["", <<0x17, 1>>] do
      client = connected(port, "C", 0x02, [], property)
      send_bytes(client, publish(0x32, "a", 1, "x"))
      assert {:puback, 1, 0x87, properties} = recv_packet(client)
      assert {0x1F, @long} in properties
      assert {0x26, {"user", @long}} in properties
    end
  end
end

defmodule MQTT.Conformance.V5ReasonTest do
  # Reason String and User Property, which must not make a packet too long for the client, nor come if
  # it does not want to know of problems.
  use MQTT.Test.Conformance, version: "5.0"
  @moduletag :pending_core

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

    def handle_auth(_, _, test), do: {:ok, test}

    @impl true
    def handle_publish("disconnect", _message, _opts, test),
      do: {:ok, test, {:disconnect, :not_authorized, @properties}}

    def handle_publish("echo", message, opts, test),
      do: {:ok, test, {:publish, "echo", message, %{properties: opts.properties}}}

    def handle_publish(_topic, _message, _opts, test), do: {:error, @refusal, test}

    def handle_subscribe(_filter, _qos, _options, test), do: {:error, @refusal, test}
    def handle_unsubscribe(_filter, _options, test), do: {:error, @refusal, test}
  end

  defp serve do
    MQTT.Test.Acceptor.start(transport: :listener, module: Talkative, args: self())
  end

  defp maximum_packet_size(bytes), do: <<0x27, bytes::32>>
  defp method, do: <<0x15, 0, 1, "m">>

  # Short enough for nothing but the reason code, for either of the two properties, and for both.
  @limits [{40, []}, {140, [0x1F]}, {400, [0x1F, 0x26]}]

  # The bytes of a packet are within the limit, and of the two properties it has those that fit. With
  # room for one of them it may be either.
  defp assert_within(client, limit, fit) do
    bytes = recv(client)
    assert byte_size(bytes) <= limit
    [packet] = packets(bytes)
    properties = for {id, _} <- elem(packet, tuple_size(packet) - 1), id in [0x1F, 0x26], do: id
    assert length(properties) == length(fit)
    packet
  end

  # For each limit, what a client with it is answered.
  defp assert_limited(bytes) do
    port = serve()

    for {limit, fit} <- @limits do
      client = open(port)
      send_bytes(client, connect(0x02, ["C"], maximum_packet_size(limit)))
      assert {:connack, 0, 0, _} = recv_packet(client)
      send_bytes(client, bytes)
      {client, assert_within(client, limit, fit)}
    end
  end

  statement ["MQTT-3.2.2-19", "MQTT-3.2.2-20"],
            "CONNACK leaves out what would make it too long" do
    port = serve()

    for {limit, fit} <- @limits, {id, code} <- [{"C", 0}, {"refused", 0x87}] do
      client = open(port)
      send_bytes(client, connect(0x02, [id], maximum_packet_size(limit)))
      assert {:connack, 0, ^code, _} = assert_within(client, limit, fit)
    end
  end

  statement ["MQTT-3.4.2-2", "MQTT-3.4.2-3"], "PUBACK leaves out what would make it too long" do
    for {_, packet} <- assert_limited(publish(0x32, "a", 1, "x")),
        do: assert({:puback, 1, 0x87, _} = packet)
  end

  statement ["MQTT-3.5.2-2", "MQTT-3.5.2-3"], "PUBREC leaves out what would make it too long" do
    for {_, packet} <- assert_limited(publish(0x34, "a", 1, "x")),
        do: assert({:pubrec, 1, 0x87, _} = packet)
  end

  statement ["MQTT-3.9.2-1", "MQTT-3.9.2-2"], "SUBACK leaves out what would make it too long" do
    for {_, packet} <- assert_limited(subscribe(1, [{"a", 0}])),
        do: assert({:suback, 1, [0x87], _} = packet)
  end

  statement ["MQTT-3.11.2-1", "MQTT-3.11.2-2"],
            "UNSUBACK leaves out what would make it too long" do
    for {_, packet} <- assert_limited(unsubscribe(1, ["a"])),
        do: assert({:unsuback, 1, [0x87], _} = packet)
  end

  statement ["MQTT-3.14.2-3", "MQTT-3.14.2-4"],
            "DISCONNECT leaves out what would make it too long" do
    for {client, packet} <- assert_limited(publish("disconnect", "x")) do
      assert {:disconnect, 0x87, _} = packet
      assert_closed(client)
    end
  end

  statement ["MQTT-3.15.2-2", "MQTT-3.15.2-3"], "AUTH leaves out what would make it too long" do
    port = serve()

    for {limit, fit} <- @limits do
      client = open(port)
      send_bytes(client, connect(0x02, ["C"], [method(), maximum_packet_size(limit)]))
      assert {:auth, 0x18, _} = assert_within(client, limit, fit)
    end
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

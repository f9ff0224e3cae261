defmodule MQTT.Conformance.V5AuthTest do
  # Sections 3.15 and 4.12: AUTH.
  use MQTT.Test.Conformance, version: "5.0"

  # A handler whose method "m" asks for "right" as often as it gets "again".
  defmodule Method do
    use MQTT.Server

    @impl true
    def init(test, %{properties: %{authentication_method: "m"} = properties}) do
      properties = Map.put_new(properties, :authentication_data, "again")
      handle_auth(:continue_authentication, properties, %{test: test, connected: false})
    end

    def init(_test, %{properties: %{authentication_method: _}}),
      do: {:stop, :bad_authentication_method}

    def init(test, _params), do: {:ok, %{test: test, connected: true}}

    @impl true
    def handle_auth(_reason, %{authentication_data: "right"}, %{connected: false} = s) do
      properties = %{authentication_method: "m", authentication_data: "welcome"}
      {:ok, %{s | connected: true}, {:connack, properties}}
    end

    def handle_auth(_reason, %{authentication_data: "right"}, s),
      do: {:ok, s, {:auth, %{authentication_data: "welcome"}}}

    def handle_auth(_reason, %{authentication_data: "again"}, s),
      do: {:continue, %{authentication_data: "challenge"}, s}

    def handle_auth(_reason, _properties, s), do: {:error, :not_authorized, s}

    @impl true
    def handle_publish(topic, message, _opts, s) do
      send(s.test, {:publish, "C", topic, message, nil})
      {:ok, s}
    end
  end

  defp serve do
    MQTT.Test.Acceptor.start(transport: :listener, module: Method, args: self())
  end

  defp method(name \\ "m", data \\ "again") do
    [<<0x15, string(name)::binary>>, if(data, do: <<0x16, string(data)::binary>>, else: "")]
  end

  defp auth(code, name \\ "m", data), do: reason(0xF0, code, method(name, data))

  # A client that was asked for more before CONNACK.
  defp challenged(port) do
    {client, packet} = try_connect(port, connect(0x02, ["C"], method()))
    assert {:auth, 0x18, [{0x15, "m"}, {0x16, "challenge"}]} = sorted(packet)
    client
  end

  # A client that is connected with the method.
  defp authenticated(port) do
    client = challenged(port)
    send_bytes(client, auth(0x18, "right"))
    assert {:connack, 0, 0, _} = recv_packet(client)
    client
  end

  defp sorted({:auth, code, properties}), do: {:auth, code, Enum.sort(properties)}

  # Before CONNACK the end may be told by one.
  defp assert_refused(client) do
    case client |> recv_all() |> packets() do
      [] -> :ok
      [{:connack, 0, code, _}] -> assert code >= 0x80
    end
  end

  statement "MQTT-3.1.2-30", "before CONNACK nothing but AUTH and DISCONNECT is taken" do
    port = serve()

    for bytes <- [publish("a", "x"), <<0xC0, 0>>, subscribe(1, [{"a", 0}]), connect(0x02, ["C"])] do
      client = challenged(port)
      send_bytes(client, bytes)
      assert_refused(client)
    end

    refute_received {:publish, _, _, _, _}
    client = challenged(port)
    send_bytes(client, <<0xE0, 0>>)
    assert_closed(client)
  end

  statement "MQTT-3.15.1-1", "AUTH with flags closes the connection" do
    port = serve()

    for first <- [0xF1, 0xF2, 0xF4, 0xF8] do
      client = challenged(port)
      send_bytes(client, reason(first, 0x18, method("m", "right")))
      assert_refused(client)
    end

    client = authenticated(port)
    send_bytes(client, reason(0xF1, 0x19, method("m", "right")))
    assert_ended(client, [0x81])
  end

  statement ["MQTT-3.15.2-1", "MQTT-4.12.0-2"],
            "the server's AUTH has 0x18 for more and 0x00 for success" do
    client = challenged(serve())

    for _ <- 1..2 do
      send_bytes(client, auth(0x18, "again"))
      assert {:auth, 0x18, _} = recv_packet(client)
    end

    send_bytes(client, auth(0x18, "right"))
    assert {:connack, 0, 0, _} = recv_packet(client)
    send_bytes(client, auth(0x19, "again"))
    assert {:auth, 0x18, _} = recv_packet(client)
    send_bytes(client, auth(0x18, "right"))
    assert {:auth, 0x00, _} = recv_packet(client)
  end

  statement ["MQTT-3.15.2-1", "MQTT-4.12.0-3"],
            "an AUTH with another code than 0x18 closes the connection" do
    port = serve()

    for code <- [0x00, 0x01, 0x19, 0x87] do
      client = challenged(port)
      send_bytes(client, auth(code, "right"))
      assert_refused(client)
    end

    for code <- [0x00, 0x01, 0x87] do
      client = authenticated(port)
      send_bytes(client, auth(code, "right"))
      assert_ended(client, [0x81, 0x82])
    end
  end

  statement "MQTT-4.12.0-1", "a method that the handler does not have is refused" do
    assert {client, {:connack, 0, 0x8C, _}} =
             try_connect(serve(), connect(0x02, ["C"], method("x")))

    assert_closed(client)
    # As is any method, by a handler without handle_auth.
    assert {client, {:connack, 0, 0x8C, _}} =
             try_connect(broker(), connect(0x02, ["C"], method("m")))

    assert_closed(client)
  end

  statement "MQTT-4.12.0-4", "a handler may refuse at any step" do
    port = serve()

    assert {client, {:connack, 0, 0x87, _}} =
             try_connect(port, connect(0x02, ["C"], method("m", "wrong")))

    assert_closed(client)
    client = challenged(port)
    send_bytes(client, auth(0x18, "again"))
    assert {:auth, 0x18, _} = recv_packet(client)
    send_bytes(client, auth(0x18, "wrong"))
    assert {:connack, 0, 0x87, _} = recv_packet(client)
    assert_closed(client)
  end

  statement "MQTT-4.12.0-5", "AUTH and CONNACK name the method of CONNECT" do
    client = challenged(serve())
    send_bytes(client, auth(0x18, "right"))
    assert {:connack, 0, 0, properties} = recv_packet(client)
    assert {0x15, "m"} in properties
    assert {0x16, "welcome"} in properties
    send_bytes(client, auth(0x19, "right"))
    assert {:auth, 0x00, [{0x15, "m"}, {0x16, "welcome"}]} = sorted(recv_packet(client))
  end

  statement "MQTT-4.12.0-5", "an AUTH that names another closes the connection" do
    client = challenged(serve())
    send_bytes(client, auth(0x18, "x", "right"))
    assert_refused(client)
  end

  statement "MQTT-4.12.0-6", "without a method in CONNECT the server names none" do
    for port <- [serve(), broker()] do
      client = open(port)
      send_bytes(client, [connect(0x02, ["C"]), <<0xC0, 0>>, <<0xE0, 0>>])
      assert [{:connack, 0, 0, properties}, :pingresp] = client |> recv_all() |> packets()
      refute List.keymember?(properties, 0x15, 0)
    end
  end

  statement "MQTT-4.12.0-7", "without a method in CONNECT an AUTH disconnects the client" do
    for port <- [serve(), broker()], do: assert_disconnected(port, auth(0x19, "right"), [0x82])
  end

  statement "MQTT-4.12.1-1", "re-authentication is with the method of CONNECT" do
    port = serve()
    client = authenticated(port)
    send_bytes(client, auth(0x19, "again"))
    assert {:auth, 0x18, _} = recv_packet(client)
    # The connection is in use meanwhile.
    assert_open(client)
    send_bytes(client, auth(0x18, "right"))
    assert {:auth, 0x00, _} = recv_packet(client)
    send_bytes(client, auth(0x19, "x", "right"))
    assert_ended(client, [0x82, 0x8C])
    client = authenticated(port)
    send_bytes(client, reason(0xF0, 0x19))
    assert_ended(client, [0x82])
  end

  statement "MQTT-4.12.1-2", "re-authentication that fails disconnects the client" do
    client = authenticated(serve())
    send_bytes(client, auth(0x19, "wrong"))
    assert_ended(client, [0x87])
  end

  statement "MQTT-3.2.0-2", "there is one CONNACK, also with re-authentication" do
    client = authenticated(serve())
    send_bytes(client, auth(0x19, "right"))
    assert {:auth, 0x00, _} = recv_packet(client)
    send_bytes(client, <<0xE0, 0>>)
    assert recv_all(client) == ""
  end
end

defmodule MQTT.Broker.TLSTest do
  # What the documentation of MQTT.Broker.enter_loop/3 shows is done here, with the broker's default name.
  use ExUnit.Case, async: false
  import MQTT.Test.Brokers
  import MQTT.Test.Wire, except: [connect: 1, connect: 2]

  alias MQTT.Broker
  alias MQTT.Test.{Acceptor, V5}

  defmodule Rules do
    @behaviour MQTT.Broker.Handler

    @impl true
    def authenticate(client, test) do
      send(test, {:client, client})
      :ok
    end

    @impl true
    def handle_event(event, _client, test), do: send(test, event)
  end

  test "clients come by sockets of one's own, until the broker ends" do
    test = self()

    options = [
      name: Broker,
      handler: {Rules, test},
      max_packet_size: 100,
      max_session_messages: 1
    ]

    {Broker, port} = broker(options)
    tls = serve()
    client = open(tls, tls: true)
    send_bytes(client, V5.connect(0x02, ["tls"]))
    assert {:connack, 0, 0, properties} = V5.recv_packet(client)
    # As the listener's.
    assert {0x27, 100} in properties
    assert_receive {:client, %{client_id: "tls", transport: :ssl, peer: {{127, 0, 0, 1}, _}}}
    V5.subscribed(client, [{"a", 1}])
    V5.publish_fully(V5.connected(port, "other"), "a", 1, "x")
    assert {:publish, 0x32, "a", id, "x", []} = V5.recv_packet(client)
    send_bytes(client, <<0x40, 2, id::16>>)

    pid = Broker.info(Broker, "tls").pid
    monitor = Process.monitor(pid)
    stop_supervised!({Broker, Broker})
    V5.assert_ended(client, [0x8B])
    assert_receive {:DOWN, ^monitor, _, _, :shutdown}
  end

  test "what it does not take is named" do
    {Broker, _} = broker(name: Broker)
    transport = fn -> MQTT.Transport.new(:tcp, hd(Port.list())) end

    for {options, sentence} <- [
          {[max_session_messages: 1],
           ~r/unknown option :max_session_messages of MQTT.Broker.enter_loop/},
          {:none, ~r/must be a keyword list/},
          {[idle_timeout: 0], ~r/option :idle_timeout of MQTT.Server/}
        ] do
      assert_raise ArgumentError, sentence, fn ->
        Broker.enter_loop(Broker, transport.(), options)
      end
    end

    assert catch_exit(Broker.enter_loop(:none, transport.())) == {:noproc, {Broker, :none}}
  end

  # The module of the documentation, on a free port.
  defp serve do
    {:docs_v1, _, _, _, _, _, docs} = Code.fetch_docs(Broker)

    [%{"en" => doc}] = for {{:function, :enter_loop, 3}, _, _, doc, _} <- docs, do: doc

    [code] = Regex.run(~r/^    defmodule TLS do\n.*?^    end\n/ms, doc)
    port = free_port()
    [{module, _}] = code |> String.replace("8883", "#{port}") |> Code.compile_string()
    start_supervised!({module, [ip: {127, 0, 0, 1}] ++ Acceptor.certificate()})
    eventually(fn -> match?({:ok, _}, :gen_tcp.connect({127, 0, 0, 1}, port, [])) end)
    port
  end
end

defmodule MQTT.RouterTest do
  use ExUnit.Case, async: true
  import MQTT.Test.Brokers, only: [eventually: 1]
  import MQTT.Test.Wire, except: [connect: 1, connect: 2]

  alias MQTT.Router
  alias MQTT.Test.V4

  # The example of `MQTT.Router`, as its documentation has it.
  {:docs_v1, _, _, _, %{"en" => documentation}, _, _} = Code.fetch_docs(Router)
  [before, _] = String.split(documentation, "From then on", parts: 2)
  [_, example] = String.split(before, "and the router:", parts: 2)

  contents =
    quote do:
            (
              use MQTT.Server
              unquote(Code.string_to_quoted!(example))
            )

  Module.create(__MODULE__.Example, contents, Macro.Env.location(__ENV__))

  defp listen(router) do
    options = [ip: {127, 0, 0, 1}, port: 0, handler: {__MODULE__.Example, router}]
    MQTT.Listener.info(start_supervised!({MQTT.Listener, options})).port
  end

  defmodule Sessionless do
    use MQTT.Server

    @impl true
    def init({test, actions}, _params) do
      send(test, {:pid, self()})
      receive do: (:go -> {:ok, nil, actions})
    end
  end

  @tag :capture_log
  test "needs a session, as do deliveries that are asked about" do
    for action <- [{:router, Router.new()}, {:deliveries, :callbacks}] do
      options = [ip: {127, 0, 0, 1}, port: 0, handler: {Sessionless, {self(), [action]}}]
      listener = start_supervised!({MQTT.Listener, options})
      client = open(MQTT.Listener.info(listener).port)
      send_bytes(client, connect_packet())
      assert_receive {:pid, pid}, 5_000
      monitor = Process.monitor(pid)
      send(pid, :go)
      assert_receive {:DOWN, ^monitor, _, _, reason}, 5_000
      assert {%ArgumentError{message: message}, _} = reason

      assert message =~
               ~r/the action {:(router|deliveries), .* cannot be carried out: it needs a session/
    end
  end

  test "says which part of a subscription is wrong" do
    {router, session} = {Router.new(), MQTT.Session.new()}

    for {filter, options, sentence} <- [
          {:a, [], "a topic filter must be a string, got: :a"},
          {"a", [qos: 3], ":qos must be one of `0`, `1`, `2`, got: 3"},
          {"a/#/b", [], ~s("a/#/b" is no topic filter)}
        ] do
      assert_raise ArgumentError, ~r/^#{sentence}/, fn ->
        Router.subscribe(router, session, filter, options)
      end
    end
  end

  test "the example routes, and leaves nothing of its clients behind" do
    router = Router.new()
    port = listen(router)
    subscriber = V4.subscribed(V4.connected(port, "subscriber"), [{"t", 1}])

    for n <- 1..10 do
      client = V4.connected(port, "client #{n}")
      # Before MQTT 5.0 it is a filter like others.
      V4.subscribed(client, [{"$share/a", 1}])
      V4.publish_fully(client, "t", 1, "#{n}")
      payload = "#{n}"
      assert {0x32, "t", id, ^payload} = V4.recv_publish(subscriber)
      send_bytes(subscriber, <<0x40, 2, id::16>>)
      close(client)
    end

    eventually(fn -> Router.info(router).sessions == 1 end)
    assert %{subscriptions: 1} = Router.info(router)
  end
end

defmodule MQTT.Test.ConformanceRules do
  @moduledoc false
  # Has a MQTT.Broker do what MQTT.Test.ConformanceBroker does.

  @behaviour MQTT.Broker.Handler

  # With MQTT_TEST_BROKER=native no callback sees messages, so that they are routed natively.
  def broker(options, connack) do
    name = :"conformance_#{System.unique_integer([:positive])}"
    native = System.get_env("MQTT_TEST_BROKER") == "native"
    module = if native, do: __MODULE__.Native, else: __MODULE__

    options =
      [name: name, ip: {127, 0, 0, 1}, port: 0, sys_interval: :infinity] ++
        [handler: {module, self()}, connack: connack] ++ options

    ExUnit.Callbacks.start_supervised!({MQTT.Broker, options})
    [%{port: port}] = MQTT.Broker.listeners(name)
    port
  end

  @impl true
  def authenticate(%{client_id: "refused"}, _), do: {:error, :client_identifier_not_valid}
  def authenticate(%{password: "wrong"}, _), do: {:error, :bad_user_name_or_password}
  def authenticate(%{username: "broken"}, _), do: {:error, :database_is_gone}

  def authenticate(client, test) do
    send(test, {:init, client.client_id, client})
    :ok
  end

  @impl true
  def authorize_subscribe(_client, "denied/" <> _, _options, _), do: {:error, :not_authorized}
  def authorize_subscribe(_client, _filter, _options, _), do: :ok

  @impl true
  def handle_publish(_client, %{topic: "raise"}, _), do: raise("told to")

  def handle_publish(client, message, test) do
    opts = Map.take(message, [:qos, :retain, :properties])
    send(test, {:publish, client.client_id, message.topic, message.payload, opts})
    if message.topic =~ ~r"^denied/", do: {:error, :not_authorized}, else: :ok
  end

  @impl true
  def handle_event({:disconnected, reason}, client, test),
    do: send(test, {:ended, client.client_id, reason})

  def handle_event(_event, _client, _test), do: :ok
end

defmodule MQTT.Test.ConformanceRules.Native do
  @moduledoc false
  # Without what is called for messages.

  @behaviour MQTT.Broker.Handler

  alias MQTT.Test.ConformanceRules

  @impl true
  defdelegate authenticate(client, test), to: ConformanceRules

  @impl true
  defdelegate authorize_subscribe(client, filter, options, test), to: ConformanceRules

  @impl true
  defdelegate handle_event(event, client, test), to: ConformanceRules
end

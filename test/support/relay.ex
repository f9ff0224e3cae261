defmodule MQTT.Test.Relay do
  @moduledoc false
  # A broker as examples/pubsub.exs, of all QoS and with properties: each subscription gets each
  # message that its filter matches. What is under "forbidden" is refused, and "leave" is answered
  # with a DISCONNECT.

  use MQTT.Server

  @refusal {:not_authorized, %{reason_string: "not for you"}}

  @doc "Starts one under the test's supervisor and gives its port."
  def start do
    ExUnit.Callbacks.start_supervised!({Registry, keys: :duplicate, name: __MODULE__})
    options = [ip: {127, 0, 0, 1}, port: 0, handler: {__MODULE__, []}]
    listener = ExUnit.Callbacks.start_supervised!({MQTT.Listener, options})
    MQTT.Listener.info(listener).port
  end

  @impl true
  def init([], %{username: "forbidden"}), do: {:stop, @refusal}
  def init([], _params), do: {:ok, nil}

  @impl true
  def handle_publish("forbidden/" <> _, _message, _opts, nil), do: {:error, @refusal, nil}

  def handle_publish("leave", _message, _opts, nil),
    do: {:ok, nil, {:disconnect, :administrative_action, %{reason_string: "closing time"}}}

  def handle_publish(topic, message, opts, nil) do
    levels = String.split(topic, "/")

    subscriptions =
      for {pid, {filter, options}} <- Registry.lookup(__MODULE__, :subscriptions),
          matches?(levels, filter),
          not (options.no_local and pid == self()),
          do: {pid, options}

    for {pid, options} <- subscriptions, do: send(pid, {:relay, topic, message, opts, options})
    if subscriptions == [], do: {:error, :no_matching_subscribers, nil}, else: {:ok, nil}
  end

  @impl true
  def handle_subscribe("forbidden/" <> _, _qos, _options, nil), do: {:error, @refusal, nil}

  def handle_subscribe(filter, qos, options, nil) do
    _ = unregister(filter)
    {:ok, _} = Registry.register(__MODULE__, :subscriptions, {String.split(filter, "/"), options})
    {:ok, qos, nil}
  end

  @impl true
  def handle_unsubscribe(filter, nil) do
    if unregister(filter), do: {:ok, nil}, else: {:error, :no_subscription_existed, nil}
  end

  @impl true
  def handle_info({:relay, topic, message, opts, options}, nil) do
    properties = Map.get(opts, :properties, %{})

    properties =
      case options do
        %{subscription_identifier: id} -> Map.put(properties, :subscription_identifier, [id])
        _ -> properties
      end

    opts = %{
      qos: opts.qos,
      max_qos: options.qos,
      retain: opts.retain and options.retain_as_published,
      properties: properties
    }

    {:ok, nil, {:publish, topic, message, opts}}
  end

  # Whether there was a subscription to the filter.
  defp unregister(filter) do
    pattern = {String.split(filter, "/"), :_}
    before = Registry.count_match(__MODULE__, :subscriptions, pattern)
    :ok = Registry.unregister_match(__MODULE__, :subscriptions, pattern)
    before > Registry.count_match(__MODULE__, :subscriptions, pattern)
  end

  defp matches?(["$" <> _ | _], [wildcard | _]) when wildcard in ["+", "#"], do: false
  defp matches?(levels, filter), do: below?(levels, filter)

  defp below?(_levels, ["#"]), do: true
  defp below?([_ | levels], ["+" | filter]), do: below?(levels, filter)
  defp below?([level | levels], [level | filter]), do: below?(levels, filter)
  defp below?(levels, filter), do: levels == filter
end

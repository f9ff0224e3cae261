defmodule MQTT.Broker.Connection do
  @moduledoc false
  # A client of a broker, by the callbacks of MQTT.Server. `Entering` lets it in, `Hooks` ask and tell the broker's handler.

  @behaviour MQTT.Server

  import MQTT.Broker.Connection.Hooks

  alias MQTT.{Message, Native, Router}
  alias MQTT.Broker.{ACL, Context}
  alias MQTT.Broker.Connection.{Entering, Retained}

  @enforce_keys [:broker, :client, :number]
  defstruct @enforce_keys ++ [session: nil, rules: nil, retained_due: false]

  # client: what the handler is told of it, if there is one
  # broker: its name, by which what all have in common is found. Here it would be copied for each will that is kept.
  # number: which of two connections of the client is the newer one
  # rules: of the ACL file, if there is one
  # retained_due: whether a message that goes on with what is retained is on its way, of which there is one at most

  @impl true
  def init(name, params) do
    with {:error, reason, _} <- Entering.connect(name, params), do: {:stop, reason}
  end

  @impl true
  def handle_auth(reason, properties, s), do: Entering.authenticate_on(reason, properties, s)

  ## Messages

  # With a router of its own it is called for the will only.
  @impl true
  def handle_publish(topic, payload, opts, s) do
    message = message(topic, payload, opts)

    with :ok <- there(s),
         :ok <- may_publish(topic, s),
         :ok <- ask(:authorize_publish, [message], :ok, s),
         {:ok, message} <- changed(message, s) do
      if opts[:will], do: event({:will_published, message}, s)
      if ours?(opts), do: publish(message, s), else: {:stop, {:shutdown, :session_taken_over}}
    else
      :drop -> {:ok, s}
      {:error, reason} -> {:error, reason, s}
    end
  end

  # The broker, of which a will may be the last to know.
  defp there(s), do: if(Context.get(s.broker), do: :ok, else: {:error, :server_shutting_down})

  # Not a message of QoS 2 whose client has come back meanwhile: it has no PUBREC, and sends it again. If it comes back later, that
  # does not bring this message again.
  defp ours?(%{will: true}), do: true

  defp ours?(%{qos: 2, packet_id: id}),
    do: Native.connection_claim(MQTT.Server.connection(), id)

  defp ours?(_opts), do: true

  defp message(topic, payload, opts) do
    %Message{
      topic: topic,
      payload: payload,
      qos: opts.qos,
      retain: opts.retain,
      properties: Map.get(opts, :properties, %{})
    }
  end

  # Those are the broker's.
  defp may_publish("$SYS", _s), do: {:error, :not_authorized}
  defp may_publish("$SYS/" <> _, _s), do: {:error, :not_authorized}
  defp may_publish("$share/" <> _, _s), do: {:error, :not_authorized}
  defp may_publish(_topic, %{rules: nil}), do: :ok

  defp may_publish(topic, %{rules: rules}),
    do: if(ACL.may_publish?(rules, topic), do: :ok, else: {:error, :not_authorized})

  defp changed(message, s),
    do: with(:ok <- ask(:handle_publish, [message], :ok, s), do: {:ok, message})

  defp publish(message, s) do
    %{router: router, hooks: hooks} = Context.get!(s.broker)
    options = Map.take(message, [:qos, :retain, :properties])
    result = Router.publish(router, message.topic, message.payload, options, s.session)
    if message.retain and :retained in hooks.events, do: retained(message, router, s)

    case result do
      {:ok, :success, _count} -> {:ok, s}
      {:ok, reason, _count} -> {:error, reason, s}
    end
  end

  # There may have been no room for it.
  defp retained(message, router, s) do
    there = router |> Router.retained(message.topic) |> Enum.map(& &1.payload)
    if there == List.wrap(kept_payload(message)), do: event({:retained, message}, s)
  end

  defp kept_payload(%{payload: ""}), do: nil
  defp kept_payload(%{payload: payload}), do: payload

  ## Deliveries

  @impl true
  def handle_delivery(topic, payload, opts, s) do
    message = message(topic, payload, opts)

    case ask(:authorize_delivery, [message], :ok, s) do
      :ok ->
        if told?(:delivered, s) or told?(:dropped, s), do: {:send, message, s}, else: {:send, s}

      {:error, reason} ->
        event_of_message(:dropped, {:dropped, message, reason}, s)
        {:drop, s}
    end
  end

  @impl true
  def handle_delivered(message, result, s) do
    case result do
      :ok -> event_of_message(:delivered, {:delivered, message}, s)
      # It is in the session, or was told to be discarded with it.
      {:error, :connection_lost} -> :ok
      {:error, reason} -> event_of_message(:dropped, {:dropped, message, reason}, s)
    end

    {:ok, s}
  end

  @impl true
  def handle_dropped(topic, payload, opts, reason, s) do
    event_of_message(:dropped, {:dropped, message(topic, payload, opts), reason}, s)
    {:ok, s}
  end

  ## Subscriptions

  @impl true
  def handle_subscribe(filter, qos, s), do: handle_subscribe(filter, qos, %{}, s)

  @impl true
  def handle_subscribe(filter, qos, options, s) do
    with :ok <- may_subscribe(filter, s),
         {:ok, granted} <- authorize_subscribe(filter, qos, options, s) do
      most = Map.get(Context.get!(s.broker).connack, :maximum_qos, 2)
      options = Map.put(options, :qos, Enum.min([qos, granted, most]))
      subscribe(filter, options, s)
    else
      {:error, reason} -> {:error, reason, s}
    end
  end

  defp may_subscribe(_filter, %{rules: nil}), do: :ok

  defp may_subscribe(filter, %{rules: rules}),
    do: if(ACL.may_subscribe?(rules, filter), do: :ok, else: {:error, :not_authorized})

  defp authorize_subscribe(filter, qos, options, s),
    do: with(:ok <- ask(:authorize_subscribe, [filter, options], :ok, s), do: {:ok, qos})

  defp subscribe(filter, options, s) do
    case Router.subscribe(router(s), s.session, filter, options) do
      {:error, reason} ->
        {:error, reason, s}

      {subscribed, cursor} ->
        event({:subscribed, filter, options}, s)

        if retained?(filter, options, subscribed),
          do: {:ok, options.qos, send_retained(filter, options, cursor, s)},
          else: {:ok, options.qos, change_retained(filter, options, s)}
    end
  end

  # [MQTT-3.3.1-9] to [MQTT-3.3.1-11]; not for shared subscriptions (MQTT 5.0, section 4.8.2).
  defp retained?("$share/" <> _, %{shared: true}, _subscribed), do: false
  defp retained?(_filter, %{retain_handling: 2}, _subscribed), do: false
  defp retained?(_filter, %{retain_handling: 1}, subscribed), do: subscribed == :new
  defp retained?(_filter, _options, _subscribed), do: true

  @impl true
  def handle_unsubscribe(filter, s) do
    if Router.unsubscribe(router(s), s.session, filter) do
      event({:unsubscribed, filter}, s)
      Retained.remove(Context.get!(s.broker), s.session, s.number, filter)
      {:ok, s}
    else
      {:error, :no_subscription_existed, s}
    end
  end

  # Behind SUBACK, and one subscription after the other.
  defp send_retained(filter, options, cursor, s) do
    context = Context.get!(s.broker)

    # Mostly there is nothing.
    if Router.retained?(context.router, filter, cursor) do
      Retained.add(context, s.session, s.number, filter, options, cursor)
      go_on_with_retained(s)
    else
      Retained.remove(context, s.session, s.number, filter)
      s
    end
  end

  defp change_retained(filter, options, s) do
    Retained.change(Context.get!(s.broker), s.session, s.number, filter, options)
    s
  end

  @doc "Forgets what was due to the session of the connection before."
  def forget_retained(s) do
    send(self(), {__MODULE__, :forget_retained})
    s
  end

  @doc "Sends what is retained, in its turn."
  def go_on_with_retained(%{retained_due: true} = s), do: s

  def go_on_with_retained(s) do
    send(self(), {__MODULE__, :retained})
    %{s | retained_due: true}
  end

  ## Processes

  @impl true
  def handle_info({__MODULE__, :forget_retained}, s) do
    Retained.forget_before(Context.get!(s.broker), s.session, s.number)
    {:ok, s}
  end

  def handle_info({__MODULE__, :retained}, s),
    do: Context.get!(s.broker) |> Retained.send_some(s.session, s.number) |> retained_sent(s)

  def handle_info({__MODULE__, :retained, retry}, s),
    do:
      Context.get!(s.broker) |> Retained.send_some(s.session, s.number, retry) |> retained_sent(s)

  # Of a connection that is no listener's.
  def handle_info({MQTT.Broker.Guests, _, :process, _, _reason}, _s), do: {:stop, :shutdown}

  def handle_info(_message, s), do: {:ok, s}

  defp retained_sent(:done, s), do: {:ok, %{s | retained_due: false}}
  defp retained_sent(:now, s), do: {:ok, go_on_with_retained(%{s | retained_due: false})}

  defp retained_sent({:after, milliseconds, retry}, s) do
    _ = Process.send_after(self(), {__MODULE__, :retained, retry}, milliseconds)
    {:ok, s}
  end

  @impl true
  def handle_call(_call, from, s), do: {:ok, s, {:reply, from, {:error, :not_supported}}}

  @impl true
  def handle_cast({:disconnect, reason}, s), do: {:ok, s, {:disconnect, reason}}
  def handle_cast(_cast, s), do: {:ok, s}

  @impl true
  def terminate(reason, s), do: event({:disconnected, reason}, s)

  @impl true
  def code_change(_old_vsn, s, _extra), do: {:ok, s}

  defp router(s), do: Context.get!(s.broker).router
end
